"""Prodigy: Adam that finds its learning rate, as the distance that it has to go.

Mishchenko and Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner", ICML 2024,
Algorithm 4 (2023), with the names of the authors' package (β3 = √β2 there, γ the learning rate)::

    m_t = β1 m_{t-1} + (1 - β1) d_t g_t
    v_t = β2 v_{t-1} + (1 - β2) d_t² g_t²
    r_t = β3 r_{t-1} + (1 - β3) γ d_t² ⟨g_t, θ_0 - θ_{t-1}⟩
    s_t = β3 s_{t-1} + (1 - β3) γ d_t² g_t
    d_{t+1} = max(d_t, r_t / ‖s_t‖_1)
    θ_t = θ_{t-1} - γ d_t m_t / (√v_t + d_t ε)

The product and the norm are over all parameters (:class:`Sums`), so d is one for all. As in the
package (1.1.2), r and s are in units of (1 - β3) d_0, ε is multiplied by d_{t+1}, and γ may have
Adam's bias correction; d, r and the number of steps are kept in the groups. They are there and not
in :attr:`Family.counters` because they belong to no parameter, and because a d of float32 would
round what checkpoints of the package say in float64.

As in the package, a group whose learning rate is 0 stands still, and takes no part in the sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt as root
from typing import Any

from adamantine.errors import HyperparameterError, UsageError
from adamantine.rules.adam import moments
from adamantine.rules.hyperparameters import (
    BETAS,
    WEIGHT_DECAY,
    Hyperparameter,
    Search,
)
from adamantine.rules.ops import absolute, sqrt, where
from adamantine.rules.rule import Family, Rule, Settings, Sums
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import descend


def taken(param, grad, s, sign, l2, moves):
    # Of a group that stands still all scalars are zeros, and s is finite where g may not be.
    return where(moves, regularised(param, grad, sign, l2), s)


def prodigy(
    param, grad, exp_avg, exp_avg_sq, s, p0,
    sign, l2, moves, first, scale, mix1, decay2, mix2, decay3, mix3, decay, step_size, eps, d,
):  # fmt: skip
    grad = taken(param, grad, s, sign, l2, moves)
    exp_avg, exp_avg_sq = moments(scale * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = step_size * exp_avg / (sqrt(exp_avg_sq) + d * eps)
    s = decay3 * s + mix3 * grad
    return descend(param, update, decay), exp_avg, exp_avg_sq, s, where(first, param, p0)


def way_and_slope(param, grad, s, p0, sign, l2, moves, first, decay3, mix3):
    grad = taken(param, grad, s, sign, l2, moves)
    way = where(first, param, p0) - param
    return grad * way, absolute(decay3 * s + mix3 * grad)


def estimate(groups: Sequence[Settings], sums: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The d of the next step, and what else groups keep; as in the package, of the first group."""
    settings = groups[0]
    moving = [(g, found) for g, found in zip(groups, sums, strict=True) if g["lr"] > 0]
    rates = sorted({float(group["lr"]) for group, _ in moving})
    if len(rates) > 1:
        raise UsageError(
            f"Prodigy has groups with learning rates of {', '.join(map(str, rates))}, and its "
            "estimate needs one for all; give groups the same lr, or 0 to leave them alone"
        )
    d, largest = settings["d"], settings["d_max"]
    slope = sum(found["slope"] for _, found in moving)
    if slope == 0:
        return {"d": d}  # nothing has begun
    progress = sum(g["d"] / g["d0"] * rate_of(g) * found["way"] for g, found in moving)
    numerator = beta3_of(settings) * settings["d_numerator"] + progress
    found = settings["d_coef"] * numerator / slope
    # In this order, a NaN changes nothing.
    if d == settings["d0"]:
        d = max(d, found)
    largest = max(largest, found)
    d = min(largest, d * settings["growth_rate"])
    return {"d": d, "d_max": largest, "d_numerator": numerator, "k": settings["k"] + 1}


PRODIGY = Rule(
    prodigy,
    ("exp_avg", "exp_avg_sq", "s", "p0"),
    sums=Sums(way_and_slope, ("way", "slope"), "sum", "d", estimate, over="parameters"),
    nonnegative=("exp_avg_sq",),
    exact=("p0",),
    tiny=("exp_avg", "exp_avg_sq", "s"),  # d_0 is a millionth
)


def beta3_of(settings: Settings) -> float:
    """The decay rate of what d is made of."""
    beta3 = settings["beta3"]
    return root(settings["betas"][1]) if beta3 is None else beta3


def rate_of(settings: Settings) -> float:
    """The coming step's γ_t d_t."""
    beta1, beta2 = settings["betas"]
    rate: float = settings["d"] * settings["lr"]
    if settings["use_bias_correction"]:
        step = settings["k"] + 1
        rate *= (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    return rate


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; ``d`` is that of the next one, once it is known."""
    d, weight_decay, (beta1, beta2) = settings["d"], settings["weight_decay"], settings["betas"]
    rate, decouple, moves = rate_of(settings), settings["decouple"], settings["lr"] > 0
    weight = d / settings["d0"] * (d if settings["safeguard_warmup"] else rate)
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "l2": 0.0 if decouple else weight_decay,
        "moves": where(moves, 1.0, 0.0),
        "first": where(step == 1, 1.0, 0.0),
        "scale": d,
        "mix1": where(moves, 1 - beta1, 0.0),
        "decay2": where(moves, beta2, 1.0),
        "mix2": where(moves, 1 - beta2, 0.0),
        "decay3": where(moves, beta3_of(settings), 1.0),
        "mix3": where(moves, weight, 0.0),
        "decay": rate * weight_decay if decouple else 0.0,
        "step_size": rate,
        "eps": settings["eps"],
        "d": d,
    }


@dataclass(frozen=True)
class _Positive(Hyperparameter):
    """A number above zero."""

    @property
    def range(self) -> str:
        return "> 0"

    def check(self, value: Any) -> None:
        super().check(value)
        if not value > 0:
            raise HyperparameterError(f"Invalid {self.label}: {value} (expected > 0)")


FAMILY = Family(
    name="prodigy",
    paper="Mishchenko and Defazio 2023, Algorithm 4",
    hyperparameters=(
        # Near 1: the estimate is the learning rate.
        Hyperparameter("lr", "learning rate", search=Search(0.1, 10.0)),
        _Positive("eps", "epsilon value"),
        BETAS,
        Hyperparameter("beta3", "beta3 value", below=1.0, optional=True),
        WEIGHT_DECAY,
        _Positive("d0", "d0 value"),
        _Positive("d_coef", "d_coef value"),
        Hyperparameter("growth_rate", "growth_rate value", minimum=1.0),
    ),
    select=lambda _: PRODIGY,
    scalars=scalars,
)
