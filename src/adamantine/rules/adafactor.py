"""Adafactor: of second moments, an average for each row and for each column.

Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018,
Algorithms 4 and 5, in torch's form, for a matrix of n columns::

    R_t = β2_t R_{t-1} + (1 - β2_t) mean over a row of g_t²         β2_t = 1 - t^τ
    C_t = β2_t C_{t-1} + (1 - β2_t) mean over a column of g_t²
    V_t = R_t C_t / max(mean R_t, ε1)
    u_t = g_t / max(√V_t, ε1)
    α_t = max(ε2, RMS(θ_{t-1})) min(γ, 1/√t)
    θ_t = (1 - γ λ) θ_{t-1} - α_t u_t / max(1, RMS(u_t) / d)

Vectors keep V_t itself. The paper adds ε1 to g_t² where torch, and so we, bound what is divided by;
its γ is 0.01, and ours may be anything. An ε1 of None is the distance from 1 to the next number of
the parameter's dtype.

What torch does not have, as in the authors' code: `scale_parameter` (False takes 1 for the factor
of α_t that follows from θ), `relative_step` (False leaves 1/√t out), `warmup_init` (which bounds
that by 1e-6 t), and `beta1`, an average of the updates.
"""

import math
from dataclasses import dataclass
from typing import Any

from adamantine.rules.hyperparameters import LEARNING_RATE, Hyperparameter, Search
from adamantine.rules.lamb import decayed
from adamantine.rules.ops import maximum, sqrt, where
from adamantine.rules.rule import Factor, Family, Rule, Settings, Sums, per_column, per_row


def scaled(grad, variance, floor2):
    return grad / sqrt(maximum(variance, floor2))


def estimate(row_var, col_var, row_mean, floor):
    return row_var / maximum(row_mean, floor) * col_var


# Scalars that an update does not use are what factors and sums are made with.


def factored(
    param, grad, row_var, col_var,
    sign, mix2, floor, floor2, by_param, smallest, longest, d, decay, row_mean, step_size,
):  # fmt: skip
    update = scaled(sign * grad, estimate(row_var, col_var, row_mean, floor), floor2)
    return param - decayed(param, step_size * update, decay), row_var, col_var


def factored_average(
    param, grad, row_var, col_var, exp_avg,
    sign, mix1, mix2, floor, floor2, by_param, smallest, longest, d, decay, row_mean, step_size,
):  # fmt: skip
    update = scaled(sign * grad, estimate(row_var, col_var, row_mean, floor), floor2)
    exp_avg = exp_avg + mix1 * (step_size * update - exp_avg)
    return param - decayed(param, exp_avg, decay), row_var, col_var, exp_avg


def whole(
    param, grad, variance,
    sign, mix2, floor2, by_param, smallest, longest, d, decay, step_size,
):  # fmt: skip
    grad = sign * grad
    variance = variance + mix2 * (grad * grad - variance)
    return param - decayed(param, step_size * scaled(grad, variance, floor2), decay), variance


def whole_average(
    param, grad, variance, exp_avg,
    sign, mix1, mix2, floor2, by_param, smallest, longest, d, decay, step_size,
):  # fmt: skip
    grad = sign * grad
    variance = variance + mix2 * (grad * grad - variance)
    exp_avg = exp_avg + mix1 * (step_size * scaled(grad, variance, floor2) - exp_avg)
    return param - decayed(param, exp_avg, decay), variance, exp_avg


def signed(grad, sign):
    return sign * grad


def new_row_var(total, columns, row_var, mix2):
    return row_var + mix2 * (total / columns - row_var)


def new_col_var(total, rows, col_var, mix2):
    return col_var + mix2 * (total / rows - col_var)


def itself(row_var):
    return row_var


def mean_of_rows(total, rows):
    return total / rows


FACTORS = (
    Factor(signed, "squares", "rows", "row_var", new_row_var),
    Factor(signed, "squares", "columns", "col_var", new_col_var),
    Factor(itself, "sum", "columns", "row_mean", mean_of_rows),
)


def factored_squares(param, grad, row_var, col_var, sign, floor, floor2, row_mean):
    variance = estimate(row_var, col_var, row_mean, floor)
    return param, scaled(sign * grad, variance, floor2)


def whole_squares(param, grad, variance, sign, mix2, floor2):
    grad = sign * grad
    return param, scaled(grad, variance + mix2 * (grad * grad - variance), floor2)


def above(x, bound):
    """The larger one; `bound` for NaN, as in torch: one element does not stop all others."""
    return where(x > bound, x, bound)


def size_of_step(param_squares, update_squares, elements, by_param, smallest, longest, d):
    share = above(by_param * sqrt(param_squares / elements), smallest)
    return longest * share / above(sqrt(update_squares / elements) / d, 1.0)


def _sums(of: Any) -> Sums:
    return Sums(of, ("param_squares", "update_squares"), "squares", "step_size", size_of_step)


SHAPES = {"row_var": per_row, "col_var": per_column}

WHOLE = Rule(whole, ("variance",), sums=_sums(whole_squares), nonnegative=("variance",))
WHOLE_AVERAGE = Rule(
    whole_average,
    ("variance", "exp_avg"),
    sums=_sums(whole_squares),
    nonnegative=("variance",),
)
FACTORED = Rule(
    factored,
    ("row_var", "col_var"),
    sums=_sums(factored_squares),
    nonnegative=("row_var", "col_var"),
    shapes=SHAPES,
    factors=FACTORS,
    of_vectors=WHOLE,
)
FACTORED_AVERAGE = Rule(
    factored_average,
    ("row_var", "col_var", "exp_avg"),
    sums=_sums(factored_squares),
    nonnegative=("row_var", "col_var"),
    shapes=SHAPES,
    factors=FACTORS,
    of_vectors=WHOLE_AVERAGE,
)

EPSILON = 2.0**-23
"""That of float32."""

WARMUP = 1e-6
"""By how much a step may grow from one to the next with `warmup_init`."""


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`; ``row_mean`` and ``step_size`` are each tensor's own."""
    lr, (eps1, eps2) = settings["lr"], settings["eps"]
    floor = settings.get("epsilon", EPSILON) if eps1 is None else eps1
    longest, by_param = lr, settings.get("scale_parameter", True)
    if settings.get("relative_step", True):
        longest = where(step**-0.5 < longest, step**-0.5, longest)
    if settings.get("warmup_init"):
        longest = where(WARMUP * step < longest, WARMUP * step, longest)
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": 1 - (settings.get("beta1") or 0.0),
        "mix2": step ** settings["beta2_decay"],
        "floor": floor,
        "floor2": floor * floor,
        "decay": lr * settings["weight_decay"],
        "by_param": float(by_param),
        "smallest": eps2 if by_param else 1.0,
        "longest": longest,
        "d": settings["d"],
        "row_mean": 1.0,
        "step_size": 1.0,
    }


@dataclass(frozen=True)
class _Setting(Hyperparameter):
    """One that is refused in the words of torch's class."""

    def _refusal(self, value: Any, label: str) -> str:
        return f"{label} should be {self.range} but is: {value}"


@dataclass(frozen=True)
class _Epsilons(Hyperparameter):
    """Two numbers, of which the first may be None."""

    def check(self, value: Any) -> None:
        pair = isinstance(value, tuple | list) and len(value) == self.count
        if not pair:
            super().check(value)  # which raises
        for index, number in enumerate(value, 1):
            one = _Setting(self.name, f"{self.label}{index}", optional=index == 1)
            one.check(number)


FAMILY = Family(
    name="adafactor",
    paper="Shazeer and Stern 2018, Algorithms 4 and 5",
    hyperparameters=(
        _Setting("lr", "Learning rate", search=LEARNING_RATE.search),
        _Setting("beta2_decay", "beta2_decay", minimum=-math.inf, maximum=0.0),
        _Epsilons("eps", "epsilon", count=2),
        _Setting("d", "Clipping threshold d", minimum=1.0),
        _Setting("weight_decay", "weight_decay", search=Search(1e-6, 1.0)),
        Hyperparameter("beta1", "beta1 value", below=1.0, optional=True),
    ),
    select=lambda settings: FACTORED_AVERAGE if settings.get("beta1") else FACTORED,
    scalars=scalars,
    of_dtype=True,
    takes_complex=False,
)
