"""Rprop: the sign of each gradient, with a step size of its own for every element.

Riedmiller and Braun, "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP
Algorithm", IEEE International Conference on Neural Networks, 1993, section 2, in the form that
takes no step back (Igel and Hüsken, "Improving the Rprop Learning Algorithm", 2000, call it
Rprop-)::

    η_t = min(η+ η_{t-1}, η_max)    where g_{t-1} g_t > 0
    η_t = max(η- η_{t-1}, η_min)    where g_{t-1} g_t < 0, and there g_t is taken for 0
    θ_t = θ_{t-1} - η_t sign(g_t)

The paper undoes the last step where the sign has changed; torch, and so we, only stand still. The
learning rate is the first η. As in torch, an element whose gradient is NaN stays where it is.
"""

from dataclasses import dataclass
from typing import Any

from adamantine.errors import HyperparameterError
from adamantine.rules.hyperparameters import LEARNING_RATE, Hyperparameter
from adamantine.rules.ops import absolute, maximum, signum, where
from adamantine.rules.rule import Family, Rule, Settings


def direction(x, zero):
    return where(x == x, signum(x), zero)


def rprop(param, grad, prev, step_size, sign, shrink, grow, smallest, largest):
    grad = sign * grad
    zero = step_size - step_size  # a tensor where the others are tensors
    # By signs: a product of two small gradients may vanish.
    agreement = direction(grad, zero) * direction(prev, zero)
    turned = absolute(agreement) - agreement
    scaled = where(turned, shrink * step_size, grow * step_size)
    step_size = where(agreement, scaled, step_size)
    step_size = -maximum(-maximum(step_size, smallest), -largest)
    grad = where(turned, zero, grad)
    return param - step_size * direction(grad, zero), grad, step_size


RPROP = Rule(rprop, ("prev", "step_size"), nonnegative=("step_size",))


def scalars(settings: Settings, _step: float) -> dict[str, Any]:
    """Host scalars; all that changes from step to step is in the states."""
    shrink, grow = settings["etas"]
    smallest, largest = settings["step_sizes"]
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "shrink": shrink,
        "grow": grow,
        "smallest": smallest,
        "largest": largest,
    }


@dataclass(frozen=True)
class _Factors(Hyperparameter):
    """Two numbers, on either side of 1."""

    def check(self, value: Any) -> None:
        super().check(value)
        if not 0 < value[0] < 1 < value[1]:
            raise HyperparameterError(
                f"Invalid {self.label}: {value[0]}, {value[1]} (expected {self.range})"
            )

    @property
    def range(self) -> str:
        return "the first > 0 and < 1, the second > 1"


FAMILY = Family(
    name="rprop",
    paper="Riedmiller and Braun 1993, section 2",
    hyperparameters=(
        LEARNING_RATE,
        _Factors("etas", "eta values", count=2),
        Hyperparameter("step_sizes", "step size", count=2),
    ),
    select=lambda _: RPROP,
    scalars=scalars,
    initial=lambda settings: {"step_size": settings["lr"]},
)
