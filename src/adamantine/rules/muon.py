"""Muon: momentum whose singular values are all made about one; AdamW for all else.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, for each matrix, in
torch's form::

    b_t = μ b_{t-1} + (1 - μ) g_t
    d_t = μ b_t + (1 - μ) g_t         (without Nesterov: b_t)
    o_t = U Vᵀ, about, where d_t = U S Vᵀ
    θ_t = θ_{t-1} - α λ θ_{t-1} - α r o_t

The authors' own code has ``b_t = μ b_{t-1} + g_t``, which has the same direction. r depends on the
matrix's shape: √max(1, rows/columns) there, and 0.2 √max(rows, columns) in Liu et al., "Muon is
Scalable for LLM Training", 2025, section 2.2, so that an element moves as far as with AdamW.

o_t is not of single elements; it comes from :class:`Matrices`.

NorMuon (Li et al., "NorMuon: Making Muon more efficient and scalable", 2025, Algorithm 1) divides
each row of o_t by the root of an average of its mean square, and then gives the matrix the norm
that it had, as in the authors' code::

    v_t = β2 v_{t-1} + (1 - β2) mean(o_t²)    (a number for each row)
    ô_t = o_t / (√v_t + ε)
    o_t becomes ô_t ‖o_t‖ / ‖ô_t‖
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

from adamantine.errors import HyperparameterError
from adamantine.rules.adam import PLAIN as ADAMW
from adamantine.rules.adam import scalars as of_adamw
from adamantine.rules.hyperparameters import (
    BETAS,
    EPS,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Matrices, Rule, Settings, Shape, per_row
from adamantine.rules.weight_decay import decay_of, descend

ALGORITHMS = "muon", "adamw"
ROWS = "second_momentum_buffer"
"""As in the code of NorMuon's authors."""

ADJUSTMENTS = None, "original", "match_rms_adamw"


def muon_momentum(direction, grad, momentum_buffer, sign, mix, nesterov):  # noqa: ARG001 - is found
    grad = sign * grad
    momentum_buffer = momentum_buffer + mix * (grad - momentum_buffer)
    ahead = momentum_buffer + mix * (grad - momentum_buffer)
    return where(nesterov, ahead, momentum_buffer), momentum_buffer


def muon(param, grad, decay, step_size):
    return (descend(param, step_size * grad, decay),)


def scaled(settings: Settings, rows: int, columns: int) -> dict[str, float]:
    """How much longer a matrix's steps are for its shape."""
    if settings["adjust_lr_fn"] == "match_rms_adamw":
        return {"step_size": 0.2 * sqrt(max(rows, columns))}
    return {"step_size": sqrt(max(1.0, rows / max(columns, 1)))}


MUON = Rule(
    muon,
    ("momentum_buffer",),
    matrices=Matrices(Rule(muon_momentum, ("momentum_buffer",)), "newton_schulz", scaled),
    counters=(),
)


def per_output(shape: Shape) -> Shape:
    """A number for each row of a convolution's matrix."""
    return (shape[0], *(1 for _ in shape[1:]))


def _normuon(shape_of: Callable[[Shape], Shape]) -> Rule:
    assert MUON.matrices is not None
    return replace(
        MUON,
        states=("momentum_buffer", ROWS),
        nonnegative=(ROWS,),
        shapes={ROWS: shape_of},
        matrices=replace(MUON.matrices, between="normuon", states=(ROWS,)),
    )


def of_rows(shape: Shape) -> Shape:
    """A number for each row, of convolutions for each output channel."""
    return per_row(shape) if len(shape) < 4 else per_output(shape)


NORMUON, FLAT_NORMUON = _normuon(of_rows), _normuon(per_output)


def select(settings: Settings) -> Rule:
    """The rule of a group."""
    if is_adamw(settings):
        return ADAMW(settings)
    if settings.get("normuon"):
        return FLAT_NORMUON if settings.get("flatten") else NORMUON
    return MUON


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars, of what the group's algorithm is."""
    if is_adamw(settings):
        return of_adamw({"maximize": False, **settings, "decoupled_weight_decay": True}, step)
    return {
        "sign": -1.0 if settings.get("maximize") else 1.0,
        "mix": 1 - settings["momentum"],
        "nesterov": 1.0 if settings["nesterov"] else 0.0,
        "decay": decay_of(settings),
        "step_size": settings["lr"],
    }


def is_adamw(settings: Settings) -> bool:
    """Whether a group is AdamW's; torch's own groups do not say whose they are."""
    return bool(settings.get("algorithm") == "adamw")


@dataclass(frozen=True)
class _Whole(Hyperparameter):
    """A whole number."""

    @property
    def range(self) -> str:
        return f"a whole number {super().range}"

    def check(self, value: Any) -> None:
        super().check(value)
        if not isinstance(value, int):
            raise HyperparameterError(self._refusal(value, self.label))


FAMILY = Family(
    name="muon",
    paper="Jordan et al. 2024; Liu et al. 2025, section 2.2",
    hyperparameters=(
        LEARNING_RATE,
        WEIGHT_DECAY,
        MOMENTUM,
        Hyperparameter("ns_coefficients", "Newton-Schulz coefficient", -100.0, count=3),
        replace(EPS, search=None),
        _Whole("ns_steps", "number of Newton-Schulz steps", below=100),
        replace(BETAS, optional=True, search=None),
        Hyperparameter("normuon_beta2", "NorMuon beta parameter", below=1.0, optional=True),
    ),
    select=select,
    scalars=scalars,
    takes_complex=False,
)
