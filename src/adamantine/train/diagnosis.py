"""Why a loss is NaN or infinite, as far as it can be seen."""

import torch
from torch import Tensor, nn

from adamantine.errors import DivergedError

# A trained network's weights are of order 1; float32 overflows when products reach 3e38.
SUSPICIOUS = 1e4


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
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


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
    weights = (parameter.detach() for parameter in model.parameters() if parameter.numel())
    return max((float(weight.abs().max()) for weight in weights), default=0.0)
