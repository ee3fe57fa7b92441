"""Why a loss is NaN or infinite, or why there is none, as far as it can be seen."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from adamantine.errors import AdamantineError, DivergedError, NonFiniteError

# A trained network's weights are of order 1; float32 overflows when products reach 3e38.
SUSPICIOUS = 1e4
OURS = str(Path(__file__).parents[1])
HUGE = 1e18
"""No weight of a training that has not diverged comes near it; its square overflows in float32."""


def diverged(
    model: nn.Module, inputs: Tensor | None, *, loss: float, lr: float, epoch: int, step: int
) -> DivergedError:
    """The error to raise, with the likely cause and what to try.

    Parameters
    ----------
    inputs
        The batch that gave `loss`; None where it is gone already.
    """
    return DivergedError(
        f"the loss became {loss} in epoch {epoch}, step {step}: "
        f"{_likely_cause(model, inputs, lr)}. The last good checkpoint is kept",
        epoch=epoch,
        step=step,
        loss=loss,
    )


def weights_are_finite(model: nn.Module) -> bool:
    """Whether no parameter holds NaN or infinity."""
    weights = map(_own, model.parameters())
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def weights_are_sane(model: nn.Module) -> bool:
    """Whether no parameter holds NaN, or what only a training that has diverged makes of it."""
    weights = (_own(weight) for weight in model.parameters() if not is_lazy(weight))
    return all(bool((weight.abs() < HUGE).all()) for weight in weights if _has_nan(weight))


def is_divergence(error: Exception, model: nn.Module, outputs: Any = None) -> bool:
    """Whether an exception comes from numbers that exploded, and not from a mistake in a program.

    A loss, a decomposition or an assertion may refuse such numbers instead of passing NaN on.

    Parameters
    ----------
    error
        What the model, the loss, the metric or the optimizer raised.
    outputs
        Of the model for the last batch; None where it did not get so far.
    """
    if isinstance(error, NonFiniteError):
        return True
    if isinstance(error, AdamantineError | OSError | EOFError) or is_out_of_memory(error):
        return False
    return not (
        weights_are_sane(model)
        and all(_is_sane(output) for output in tensors_in(outputs))
        and all(bool(torch.isfinite(grad).all()) for grad in _gradients(model))
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory; torch says so in words where it is the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def failure(error: BaseException, what: str) -> AdamantineError:
    """What to say of an error in a user's model, data or optimizer: a line, with the place.

    Parameters
    ----------
    what
        Was being done: ``"adam with lr=0.1 and seed 3"``.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not ("site-packages" in f.filename or f.filename.startswith(OURS))]
    frame = (own or frames)[-1]
    return AdamantineError(
        f"{what} failed in {frame.filename}, line {frame.lineno}: {type(error).__name__}: {error}"
    )


def _likely_cause(model: nn.Module, inputs: Tensor | None, lr: float) -> str:
    if inputs is not None and not bool(torch.isfinite(inputs).all()):
        return "this batch's inputs hold NaN or infinity; look for them in the data"
    if not weights_are_finite(model):
        return (
            "an earlier step made the weights NaN or infinite. Likely the learning rate "
            f"{lr:g} is too high (try --lr {lr / 10:g}); else a gradient is undefined, "
            "as that of sqrt or of a norm at 0"
        )
    largest = _largest_weight(model)
    if largest > SUSPICIOUS:
        return (
            f"the weights have grown to {largest:.3g}, so the learning rate {lr:g} is too high: "
            f"try --lr {lr / 10:g}"
        )
    return (
        f"weights (at most {largest:.3g}) and inputs are finite, so the model or its loss "
        "overflowed or is undefined: look for exp, log, sqrt and division in it"
    )


def _largest_weight(model: nn.Module) -> float:
    weights = map(_own, model.parameters())
    return max((float(weight.abs().max()) for weight in weights if weight.numel()), default=0.0)


def _own(tensor: Tensor) -> Tensor:
    """Of a divided tensor, what this process has: others may not be asking."""
    tensor = tensor.detach()
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def _has_nan(weight: Tensor) -> bool:
    """Whether its dtype does; a quantised weight or a mask cannot explode."""
    return weight.is_floating_point() or weight.is_complex()


def _is_sane(output: Tensor) -> bool:
    """Whether outputs are finite, but for some that are -inf: so a model masks what cannot be."""
    if not output.numel():
        return True
    if not _has_nan(output) or output.is_complex():
        return bool(torch.isfinite(output).all())
    return bool((output < torch.inf).all()) and not bool((output == -torch.inf).all())


def _gradients(model: nn.Module) -> Iterator[Tensor]:
    for weight in model.parameters():
        grad = weight.grad
        if grad is not None:
            yield grad._values() if grad.layout == torch.sparse_coo else _own(grad)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in dictionaries, lists and tuples, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for element in value.values():
            yield from tensors_in(element)
    elif isinstance(value, list | tuple):
        for element in value:
            yield from tensors_in(element)
