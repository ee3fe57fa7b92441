"""Which of a model's parameters are matrices for Muon, and what AdamW has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import adamantine
from adamantine.optim.usage.matrices import flat_shape


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)
        self.experts = nn.Parameter(torch.zeros(4, 8, 16))
        self.narrow = nn.Linear(8, 1)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lookup = nn.Embedding(11, 8)
        self.block = Block()
        self.sound = nn.Conv1d(8, 8, 3, bias=False)
        self.picture = nn.Conv2d(8, 8, 3)
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.extra = nn.Linear(8, 8, bias=False)


EXPECTED = """\
lookup.weight                    11x8     adamw  embedding
block.experts                    4x8x16   muon   batch of matrices
block.attention.in_proj_weight   24x8     muon   matrix
block.attention.in_proj_bias     24       adamw  bias
block.attention.out_proj.weight  8x8      muon   matrix
block.attention.out_proj.bias    8        adamw  bias
block.norm.weight                8        adamw  fewer than two dimensions
block.norm.bias                  8        adamw  bias
block.narrow.weight              1x8      adamw  one row or column
block.narrow.bias                1        adamw  bias
sound.weight                     8x8x3    muon   convolution
picture.weight                   8x8x3x3  muon   convolution
picture.bias                     8        adamw  bias
lm_head.weight                   11x8     adamw  output layer
extra.weight                     8x8      muon   matrix"""


def test_a_module_is_known_by_its_parts() -> None:
    optimizer = adamantine.Muon(Transformer())
    assert str(optimizer.assigned()) == EXPECTED
    groups = [
        (g.get("algorithm"), g.get("flatten"), len(g["params"])) for g in optimizer.param_groups
    ]
    assert groups == [(None, True, 1), (None, None, 5), ("adamw", None, 9)]


def test_names_say_less_than_modules() -> None:
    of_names = adamantine.Muon(Transformer().named_parameters()).assigned()
    of_modules = adamantine.Muon(Transformer()).assigned()
    differing = {
        a.name: (a.algorithm, a.why) for a, b in zip(of_names, of_modules, strict=True) if a != b
    }
    assert differing == {
        "lookup.weight": ("muon", "matrix"),
        "sound.weight": ("muon", "batch of matrices"),
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("wte.weight", "embedding"),
        ("transformer.wpe.weight", "embedding"),
        ("embed_tokens.weight", "embedding"),
        ("model.embeddings.word.weight", "embedding"),
        ("token_emb.weight", "embedding"),
        ("pos_embed", "embedding"),
        ("position", "embedding"),
        ("encoder.positional", "embedding"),
        ("head.weight", "output layer"),
        ("classifier.0.weight", "output layer"),
        ("lm_head.weight", "output layer"),
        ("ln_f.weight", "norm"),
        ("h.0.norm1.weight", "norm"),
        ("attn.bias", "bias"),
        ("heads.weight", "matrix"),
        ("member.weight", "matrix"),
        ("blocks.0.attn.qkv.weight", "matrix"),
        ("output.dense.weight", "matrix"),
        ("normalise.weight", "matrix"),
        ("composition.weight", "matrix"),
    ],
)
def test_names(name: str, why: str) -> None:
    named = [(name, nn.Parameter(torch.zeros(3, 4))), ("z", nn.Parameter(torch.zeros(3, 4)))]
    found = {a.name: a.why for a in adamantine.Muon(named).assigned()}
    assert found == {name: why, "z": "matrix"}


def test_the_last_matrix_of_a_model_is_its_output() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3))
    for given in (model, model.named_parameters()):
        whys = {a.name: a.why for a in adamantine.Muon(given).assigned()}
        assert whys["2.weight"] == "output layer"
        assert whys["0.weight"] == whys["1.weight"] == "matrix"
    chosen = [(n, p) for n, p in model.named_parameters() if p.dim() == 2]
    assert {a.why for a in adamantine.Muon(chosen).assigned()} == {"matrix"}  # as in torch


def test_a_tied_weight_is_an_embedding() -> None:
    model = nn.ModuleDict({"last": nn.Linear(4, 9, bias=False), "first": nn.Embedding(9, 4)})
    model["first"].weight = model["last"].weight
    (only,) = adamantine.Muon(model).assigned()
    assert (only.name, only.why) == ("last.weight", "embedding")


def test_a_weight_is_as_many_matrices() -> None:
    param = torch.zeros(4, 5, 6)
    assert flat_shape(param, {}) == (4, 5, 6)
    assert flat_shape(param, {"flatten": True}) == (1, 4, 30)
    assert flat_shape(torch.zeros(2, 3), {}) == (1, 2, 3)
    assert flat_shape(torch.zeros(2, 3, 4, 5), {}) == (1, 2, 60)
