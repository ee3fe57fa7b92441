"""A decoder-only transformer, of any size."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Transformer(nn.Module):
    """Decoder-only, pre-norm, learned positions (GPT-2's plan: Radford et al., 2019).

    Maps symbols of shape ``(batch, context)`` to logits ``(batch, context, symbols)``.

    Parameters
    ----------
    symbols
        How many there are.
    width
        Of the residual stream; a multiple of `head_width`.
    layers
        Blocks.
    context
        Symbols a text has.
    head_width
        Of each attention head.
    """

    def __init__(
        self, symbols: int, width: int, layers: int, context: int, head_width: int
    ) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.position = nn.Parameter(torch.empty(context, width))
        self.blocks = nn.Sequential(*(Block(width, head_width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)
        nn.init.normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, symbols: Tensor) -> Tensor:
        """The logits of each next symbol."""
        logits: Tensor = self.head(self.norm(self.blocks(self.symbol(symbols) + self.position)))
        return logits


class Block(nn.Module):
    """Attention to what came before, then two linear layers; both beside a residual."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after this block."""
        x = x + self._attention(self.before_attention(x))
        after: Tensor = x + self.layers(self.before_layers(x))
        return after

    def _attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, -1, self.head_width)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out
