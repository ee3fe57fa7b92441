"""What is probably a mistake, told once and with the remedy (see ``docs/misuse.md``)."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from adamantine.errors import MisuseWarning, UsageError
from adamantine.optim.usage.labels import label_at, several

_FOLDERS = Path(torch.__file__).parent, Path(__file__).parents[2]
_INSIDE = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)


def warn(message: str) -> None:
    """Warn, and point at the nearest line outside of this package and of torch."""
    files = [frame.f_code.co_filename for frame in _frames_from(sys._getframe(1))]
    outside = next((i for i, file in enumerate(files) if not file.startswith(_INSIDE)), 0)
    warnings.warn(message, MisuseWarning, stacklevel=outside + 2)


def callers() -> Iterator[FrameType]:
    """The frames of those who have called the function that calls this, from the inside out."""
    return _frames_from(sys._getframe(1))


def _frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """`frame` and its callers, from the inside out."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_half_unscaled(params: Iterable[Tensor]) -> bool:
    """Whether float16 parameters are about to be updated, and no ``GradScaler`` calls."""
    if not any(p.dtype == torch.float16 and p.grad is not None for p in params):
        return False
    callers = _frames_from(sys._getframe())
    return not any(isinstance(f.f_locals.get("self"), torch.amp.GradScaler) for f in callers)


def warn_of_half(owner: str) -> None:
    """Warn of float16 parameters without loss scaling."""
    warn(
        f"{owner} updates float16 parameters without a GradScaler: gradients below 6e-8 are zero "
        "in float16, and updates below a thousandth of a weight are lost. Keep the parameters in "
        "float32 and use torch.autocast with torch.amp.GradScaler, or use bfloat16"
    )


def check(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    """Raise unless the optimizers have exactly the parameters that the model trains.

    Call it once before training, after the last change to the model.

    Parameters
    ----------
    model
        The module. Join several with ``torch.nn.ModuleList([generator, loss])``.
    optimizers
        One or more optimizers, from this package or any other, that train it together.

    Raises
    ------
    UsageError
        A ``ValueError`` that names the parameters that need a gradient (or have one) but are in no
        optimizer, and the parameters in an optimizer that are not in the model.

    Notes
    -----
    The second case arises when a parameter is replaced after the optimizer was built
    (``layer.weight = nn.Parameter(...)``, a new head, some quantizers, and ``model.to(...)`` on
    some devices): torch then continues to update the old one.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Linear(4, 2)
    >>> adamantine.check(model, adamantine.SGD(model.parameters()))
    """
    if not optimizers:
        raise UsageError(
            "check() got no optimizer; pass the model and the optimizers that train it"
        )
    owned = _labels(*optimizers)
    orphans = [
        repr(name)
        for name, param in model.named_parameters()
        if (param.requires_grad or param.grad is not None) and param not in owned
    ]
    foreign = strangers(model, *optimizers)
    problems = []
    if orphans:
        problems.append(
            f"no optimizer has the model's {several(orphans)}: give them to one, or freeze them "
            "with requires_grad_(False)"
        )
    if foreign:
        problems.append(
            f"an optimizer has {several(foreign)}, and the model does not: build the optimizer "
            "after model.to(...) and after every replacement of a parameter"
        )
    if problems:
        raise UsageError("; and ".join(problems))


def stray_states(groups: Sequence[dict[str, Any]], state: Mapping[Any, Any]) -> str | None:
    """What is wrong where `state` holds that of a parameter which is in no group; None if not."""
    members = [
        (param, label_at(group, index, position))
        for index, group in enumerate(groups)
        for position, param in enumerate(group["params"])
    ]
    known = {param for param, _ in members}
    strays = [key for key in state if isinstance(key, Tensor) and key not in known]
    if not strays:
        return None
    shapes = list(dict.fromkeys(tuple(stray.shape) for stray in strays))
    new = [who for param, who in members if not state.get(param) and tuple(param.shape) in shapes]
    return (
        "the optimizer has states of parameters that are in no group any more (of shape "
        f"{several(list(map(str, shapes)))}): they were replaced or removed there after a step"
        + (f"; without a state is {several(new)}" if new else "")
        + ". Build the optimizer after every replacement, or move what belongs to the old one: "
        "optimizer.state[new] = optimizer.state.pop(old)"
    )


def strangers(model: nn.Module, *optimizers: torch.optim.Optimizer) -> list[str]:
    """What the optimizers' parameters are called that are not the model's."""
    of_model = dict.fromkeys(model.parameters())
    return [who for param, who in _labels(*optimizers).items() if param not in of_model]


def _labels(*optimizers: torch.optim.Optimizer) -> dict[Tensor, str]:
    return {
        param: label_at(group, index, position)
        for optimizer in optimizers
        for index, group in enumerate(optimizer.param_groups)
        for position, param in enumerate(group["params"])
    }
