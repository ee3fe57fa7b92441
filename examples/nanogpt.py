"""A small GPT on characters, trained as nanoGPT does it.

    python examples/nanogpt.py

A decoder of two blocks learns to continue this very file. The training has what such scripts
have: weight decay for matrices only, gradient accumulation, clipping, and a cosine schedule with
warm-up. With `torch.optim` in place of `adamantine` nothing else changes.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from adamantine import AdamW  # was: from torch.optim import AdamW

CONTEXT, WIDTH, HEADS, BLOCKS, VOCABULARY = 32, 48, 4, 2, 128
BATCH, ACCUMULATE = 4, 4
PEAK, FLOOR, WARMUP = 3e-3, 3e-4, 10


class Block(nn.Module):
    """Attention to earlier characters, then a small network, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        heads = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Characters in, the logits of each next character out; embedding and output share weights."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        x = self.characters(text) + self.positions.weight[: text.shape[1]]
        return self.norm(self.blocks(x)) @ self.characters.weight.T

    def loss(self, text: Tensor, following: Tensor) -> Tensor:
        return functional.cross_entropy(self(text).flatten(0, 1), following.flatten())


def batch(text: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random excerpts, and the same moved on by one character."""
    starts = torch.randint(len(text) - CONTEXT, (BATCH,), generator=generator)
    rows = text[starts[:, None] + torch.arange(CONTEXT + 1)]
    return rows[:, :-1], rows[:, 1:]


def groups(model: nn.Module) -> list[dict]:
    """Matrices decay; biases, gains and other vectors do not."""
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int) -> float:
    """Up in a straight line, then down along half a cosine."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    progress = (step - WARMUP) / (steps - WARMUP)
    return FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def train(steps: int = 300, report: int = 50) -> list[float]:
    """Train from the same start each time; return the loss of every step."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    text = torch.tensor(list(Path(__file__).read_bytes()))
    model = GPT()
    optimizer = AdamW(groups(model), lr=PEAK, betas=(0.9, 0.95))
    losses = []
    for step in range(steps):
        total = 0.0
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        for _ in range(ACCUMULATE):
            loss = model.loss(*batch(text, generator)) / ACCUMULATE
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        if report and (step + 1) % report == 0:
            print(f"step {step + 1}: loss {total:.3f}")
    return losses


if __name__ == "__main__":
    train()
