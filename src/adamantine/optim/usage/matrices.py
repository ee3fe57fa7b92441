"""Parameters as matrices: what is taken for one, and which of a model's should be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from adamantine.optim.usage.grouping import EMBEDDINGS, NORMS

Group = dict[str, Any]

FLATTEN = "flatten"
"""The setting of a group whose tensors of three dimensions are convolutions, not batches."""


def flat_shape(param: Tensor, settings: Mapping[str, Any]) -> tuple[int, int, int]:
    """``(matrices, rows, columns)`` of a parameter.

    Three dimensions are a batch of matrices, such as attention's heads or experts; more, or three
    in a group with ``flatten``, are a convolution, (out, in, ...), whose output channels are rows.
    """
    shape = tuple(map(int, param.shape))  # a tracer's are no keys
    if len(shape) == 3 and not settings.get(FLATTEN):
        return shape[0], shape[1], shape[2]
    return 1, shape[0], prod(shape[1:])


class Assignment(NamedTuple):
    """A parameter, and which algorithm has it."""

    name: str
    shape: tuple[int, ...]
    algorithm: str
    why: str


class Assignments(tuple[Assignment, ...]):
    """Of all parameters of an optimizer; printed, a line for each."""

    def __str__(self) -> str:
        rows = [(a.name, "x".join(map(str, a.shape)) or "1", a.algorithm, a.why) for a in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def assigned(model: nn.Module | Sequence[tuple[str, Tensor]]) -> tuple[list[Group], dict[str, str]]:
    """The groups of a model: of its matrices, and of what AdamW does better; and why, by name.

    What a parameter is says its module, and where there are only names, these and its shape do. The
    last matrix of a model is its output layer, unless another one is called so. Where there are
    matrices only, somebody has chosen them, and the last one is as the others.
    """
    named, owners = _named(model)
    whole = isinstance(model, nn.Module) or any(param.dim() < 2 for _, param in named)
    whys = {
        name: _why_adamw(name, param, owners.get(name))
        or ("one row or column" if whole and _is_single(param, _is_flat(owners.get(name))) else "")
        for name, param in named
    }
    if whole and "output layer" not in whys.values():
        last = next((name for name, _ in reversed(named) if not whys[name]), None)
        if last is not None:
            whys[last] = "output layer"
    made: dict[tuple[str, bool], list[tuple[str, Tensor]]] = {}
    for name, param in named:
        flat = not whys[name] and _is_flat(owners.get(name)) and param.dim() == 3
        made.setdefault(("adamw" if whys[name] else "muon", flat), []).append((name, param))
        whys[name] = whys[name] or _what(param, flat)
    groups: list[Group] = []
    for (algorithm, flat), pairs in sorted(made.items(), key=lambda item: item[0], reverse=True):
        # Torch's groups are all Muon's, and do not say so.
        group: Group = {} if algorithm == "muon" else {"algorithm": algorithm}
        groups.append({"params": pairs} | group | ({FLATTEN: True} if flat else {}))
    return groups, whys


def _named(
    model: nn.Module | Sequence[tuple[str, Tensor]],
) -> tuple[list[tuple[str, Tensor]], dict[str, list[nn.Module]]]:
    """Parameters by name; and the modules that have them, of a tied one all."""
    if not isinstance(model, nn.Module):
        return list(model), {}
    modules = dict(model.named_modules(remove_duplicate=False))
    names: dict[Tensor, str] = {}
    owners: dict[str, list[nn.Module]] = {}
    for name, param in model.named_parameters(remove_duplicate=False):
        first = names.setdefault(param, name)
        owners.setdefault(first, []).append(modules[name.rpartition(".")[0]])
    return [(name, param) for param, name in names.items()], owners


_BIAS = re.compile(r"(^|[._])bias(_\w+)?$")
_EMBEDDING = re.compile(r"(^|[._])(emb|embed\w*|wte|wpe|pos(ition(s|al)?)?)([._]|$)")
_NORM = re.compile(r"(^|[._])(norm\d*|layer_?norm|batch_?norm|ln(_?\w)?|bn\d*)\.\w+$")
_OUTPUT = re.compile(r"(^|[._])(head|classifier|unembed\w*|logits)(\.\d+)?(\.\w+)?$")


def _why_adamw(name: str, param: Tensor, owners: Sequence[nn.Module] | None) -> str:
    """What AdamW has a parameter for; empty for what can be a matrix."""
    lower = name.lower()
    if param.dim() < 2:
        return "bias" if _BIAS.search(lower) else "fewer than two dimensions"
    if _BIAS.search(lower):
        return "bias"
    if any(isinstance(o, EMBEDDINGS) for o in owners or ()) or _EMBEDDING.search(lower):
        return "embedding"
    if any(isinstance(o, NORMS) for o in owners or ()) or _NORM.search(lower):
        return "norm"
    return "output layer" if _OUTPUT.search(lower) else ""


def _is_flat(owners: Sequence[nn.Module] | None) -> bool:
    return any(isinstance(o, nn.Conv1d | nn.ConvTranspose1d) for o in owners or ())


def _is_single(param: Tensor, flat: bool) -> bool:
    return min(flat_shape(param, {FLATTEN: flat})[1:]) == 1


def _what(param: Tensor, flat: bool) -> str:
    if param.dim() == 2:
        return "matrix"
    return "batch of matrices" if param.dim() == 3 and not flat else "convolution"
