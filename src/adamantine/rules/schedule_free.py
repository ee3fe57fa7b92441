"""Schedule-free SGD, AdamW and RAdam: an average of all places instead of a falling learning rate.

Defazio et al., "The Road Less Scheduled", NeurIPS 2024, Algorithm 1 and section 4. Gradients are
taken at y, a base method goes to z, and x is the average that is evaluated in the end::

    y_t = (1 - β) z_t + β x_t
    z_{t+1} = z_t - γ_t u_t(y_t)             (u: a gradient, or what Adam makes of it)
    x_{t+1} = (1 - c_t) x_t + c_t z_{t+1},    c_t = w_t / (w_1 + … + w_t),  w_t = t^r γmax_t^p

γmax is the largest γ so far. The parameter is y while training and x for evaluation, and z is a
state; x and y follow from each other (:data:`SWAP`). As in the authors' package, the decay of z is
that of y, ``u + λ y``. In terms of y and z alone a step is::

    y_{t+1} = y_t + c_t (z_t - y_t) - γ_t (1 - β (1 - c_t)) u_t

γmax and the weights' sum, in units of the last one, are counters beside the step: with a constant γ
that sum is the step, which float32 counts exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adamantine.errors import HyperparameterError
from adamantine.rules.hyperparameters import (
    AVERAGE,
    EPS,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import sqrt, where
from adamantine.rules.rule import Family, Rule, Settings

COUNTERS = ("step", "averaged", "lr_max")


def base_and_average(param, update, z, first, weight, y_size, z_size):
    z = where(first, param, z)
    return param + (weight * (z - param) - y_size * update), z - z_size * update


def decaying(param, update, decay):
    return where(decay, update + decay * param, update)


def schedule_free_sgd(param, grad, z, sign, decay, first, weight, y_size, z_size):
    update = decaying(param, sign * grad, decay)
    return base_and_average(param, update, z, first, weight, y_size, z_size)


def schedule_free_adam(
    param, grad, z, exp_avg_sq,
    sign, decay2, mix2, rectified, inv_sqrt_bias2, eps, decay, first, weight, y_size, z_size,
):  # fmt: skip
    grad = sign * grad
    exp_avg_sq = decay2 * exp_avg_sq + mix2 * grad * grad
    update = where(rectified, grad / (sqrt(exp_avg_sq) * inv_sqrt_bias2 + eps), grad)
    update = decaying(param, update, decay)
    param, z = base_and_average(param, update, z, first, weight, y_size, z_size)
    return param, z, exp_avg_sq


def swap(param, grad, z, share):  # noqa: ARG001 - a rule has one
    return param + share * (z - param), z


SGD = Rule(schedule_free_sgd, ("z",), exact=("z",))
ADAM = Rule(schedule_free_adam, ("z", "exp_avg_sq"), nonnegative=("exp_avg_sq",), exact=("z",))

SWAP = Family(
    name="schedule-free swap",
    paper="Defazio et al. 2024, Algorithm 1",
    hyperparameters=(),
    select=lambda _: Rule(swap, ("z",)),
    scalars=lambda settings, *_: {"share": settings["share"]},
)
"""From y to x with a share of 1 - 1/β, and back with one of 1 - β."""


def momentum_of(settings: Settings) -> float:
    """The β of a group."""
    return settings["momentum"] if "momentum" in settings else settings["betas"][0]  # type: ignore[no-any-return]


def averaging(
    settings: Settings, lr: Any, step: float, averaged: float, lr_max: float
) -> dict[str, Any]:
    """The host scalars of `base_and_average`, with a learning rate of `lr` in this step."""
    r, power = settings["r"], settings["weight_lr_power"]
    # The counter is a float32, and may be the rounded `lr` of the steps before.
    longer = lr > lr_max * (1 + 1e-6)
    before, lr_max = lr_max, where(longer, lr, lr_max)
    ratio = where(longer, before / where(longer, lr, 1.0), 1.0) ** power
    averaged = 1 + averaged * ratio * ((step - 1) / step) ** r
    if power > 0:
        averaged = where(lr_max > 0, averaged, 0.0)  # nothing has moved, and nothing weighs
    weight = where(averaged > 0, 1 / where(averaged > 0, averaged, 1.0), 0.0)
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "decay": settings["weight_decay"],
        "first": where(step == 1, 1.0, 0.0),
        "weight": weight,
        "y_size": lr * (1 - momentum_of(settings) * (1 - weight)),
        "z_size": lr,
        "averaged": averaged,
        "lr_max": lr_max,
    }


def warmed_up(settings: Settings, step: float) -> Any:
    """The learning rate of a step."""
    lr, warmup = settings["lr"], settings["warmup_steps"]
    return lr * where(step < warmup, step / warmup, 1.0) if warmup else lr


def sgd_scalars(settings: Settings, step: float, averaged: float, lr_max: float) -> dict[str, Any]:
    """Host scalars of step `step`, and the new counters."""
    return averaging(settings, warmed_up(settings, step), step, averaged, lr_max)


def adamw_scalars(
    settings: Settings, step: float, averaged: float, lr_max: float
) -> dict[str, Any]:
    """Host scalars of step `step`, and the new counters."""
    beta2 = settings["betas"][1]
    return {
        **averaging(settings, warmed_up(settings, step), step, averaged, lr_max),
        "decay2": beta2,
        "mix2": 1 - beta2,
        "rectified": 1.0,
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
    }


def radam_scalars(
    settings: Settings, step: float, averaged: float, lr_max: float
) -> dict[str, Any]:
    """Host scalars of step `step`, and the new counters; see :mod:`.radam`."""
    beta2 = settings["betas"][1]
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    rectified = length > 4
    # Below that the fraction may be negative, or have a zero below.
    above = where(rectified, (length - 4) * (length - 2) * longest, 1.0)
    below = where(rectified, (longest - 4) * (longest - 2) * length, 1.0)
    factor = where(rectified, (above / below) ** 0.5, 0.0 if settings["silent_sgd_phase"] else 1.0)
    return {
        **averaging(settings, settings["lr"] * factor, step, averaged, lr_max),
        "decay2": beta2,
        "mix2": 1 - beta2,
        "rectified": where(rectified, 1.0, 0.0),
        "inv_sqrt_bias2": (1 - beta2**step) ** -0.5,
        "eps": settings["eps"],
    }


@dataclass(frozen=True)
class _Interpolation(Hyperparameter):
    """β, which x and y are told apart by: above zero, as the first of two numbers or alone."""

    def check(self, value: Any) -> None:
        super().check(value)
        beta, label = (value, self.label) if self.count is None else (
            value[0], f"{self.label} at index 0"
        )  # fmt: skip
        if not beta > 0:
            raise HyperparameterError(f"Invalid {label}: {beta} (expected > 0 and < 1)")


_COMMON = (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter("r", "r value"),
    Hyperparameter("weight_lr_power", "weight_lr_power value"),
)
_WARMUP = Hyperparameter("warmup_steps", "warmup_steps value")
_BETAS = _Interpolation("betas", "beta parameter", below=1.0, count=2, search=AVERAGE)


def _family(
    name: str, rule: Rule, scalars: Callable[..., dict[str, Any]], *others: Hyperparameter
) -> Family:
    return Family(
        name=name,
        paper="Defazio et al. 2024, Algorithm 1",
        hyperparameters=(*_COMMON, *others),
        select=lambda _: rule,
        scalars=scalars,
        counters=COUNTERS,
        initial=lambda _: {"averaged": 0.0, "lr_max": 0.0},
    )


SGD_FAMILY = _family(
    "sgd-schedule-free",
    SGD,
    sgd_scalars,
    _Interpolation("momentum", "momentum value", below=1.0, search=MOMENTUM.search),
    _WARMUP,
)
ADAMW_FAMILY = _family("adamw-schedule-free", ADAM, adamw_scalars, EPS, _BETAS, _WARMUP)
RADAM_FAMILY = _family("radam-schedule-free", ADAM, radam_scalars, EPS, _BETAS)
