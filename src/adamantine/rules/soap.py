"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner; for vectors, Adam.

Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025, Algorithm 3, for each
matrix, as in the authors' code::

    g'_t = Q_Lᵀ g_t Q_R
    m_t = β1 m_{t-1} + (1 - β1) g'_t
    v_t = β2 v_{t-1} + (1 - β2) g'_t²
    θ_t = θ_{t-1} - α Q_L (m̂_t / (√v̂_t + ε)) Q_Rᵀ - α λ θ_{t-1}
    L_t = β3 L_{t-1} + (1 - β3) g_t g_tᵀ,    R_t = β3 R_{t-1} + (1 - β3) g_tᵀ g_t

Q_L and Q_R are the eigenvectors of L and R: of the first step's, exactly, and then by a step of
power iteration with a QR decomposition, every k steps. m is kept in the basis; the paper keeps it
outside, which is the same. The first step updates nothing but L and R, so that no gradient is seen
in a basis that it has made. ε counts before the bias correction of v, as in that code.
"""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

from adamantine.rules.adam import adaptive, moments
from adamantine.rules.hyperparameters import (
    BETAS,
    EPS,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.rules.ops import where
from adamantine.rules.rule import Family, Matrices, Rule, Settings, Shape
from adamantine.rules.weight_decay import decay_of, descend

MOMENTS = "exp_avg", "exp_avg_sq"
LEFT, RIGHT, LEFT_BASIS, RIGHT_BASIS = OF_SIDES = "L", "R", "Q_L", "Q_R"


def begun(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2):
    """Both averages; in the first step as they were, whatever the gradient is."""
    first, second = moments(grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    return where(mix2, first, exp_avg), where(mix2, second, exp_avg_sq)


def soap_direction(
    direction, grad, exp_avg, exp_avg_sq,  # noqa: ARG001 - the direction is found
    sign, mix1, decay2, mix2, inv_sqrt_bias2, eps,
):  # fmt: skip
    exp_avg, exp_avg_sq = begun(sign * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    return adaptive(exp_avg, exp_avg_sq, inv_sqrt_bias2, eps), exp_avg, exp_avg_sq


def soap(param, grad, decay, step_size):
    return (descend(param, step_size * grad, decay),)


def soap_of_vectors(
    param, grad, exp_avg, exp_avg_sq,
    sign, mix1, decay2, mix2, inv_sqrt_bias2, eps, decay, step_size,
):  # fmt: skip
    exp_avg, exp_avg_sq = begun(sign * grad, exp_avg, exp_avg_sq, mix1, decay2, mix2)
    update = adaptive(step_size * exp_avg, exp_avg_sq, inv_sqrt_bias2, eps)
    return descend(param, update, decay), exp_avg, exp_avg_sq


OF_VECTORS = Rule(soap_of_vectors, MOMENTS, nonnegative=("exp_avg_sq",), exact=MOMENTS)


def unscaled(_settings: Settings, _rows: int, _columns: int) -> dict[str, float]:
    """Steps are of one length for all shapes."""
    return {}


@cache
def rule(most: int, flat: bool) -> Rule:
    """The rule of matrices whose sides of more than `most` elements have no basis."""

    def side_of(place: int) -> Callable[[Shape], Shape]:
        def shape_of(shape: Shape) -> Shape:
            is_batch = len(shape) == 3 and not flat
            sides = shape[1:] if is_batch else (shape[0], prod(shape[1:]))
            side = sides[place]
            batch = shape[:1] if is_batch else ()
            return (*batch, side, side) if side <= most else (0, 0)

        return shape_of

    left, right = side_of(0), side_of(1)
    return Rule(
        soap,
        (*MOMENTS, *OF_SIDES),
        nonnegative=("exp_avg_sq",),
        exact=(*MOMENTS, *OF_SIDES),
        shapes={LEFT: left, RIGHT: right, LEFT_BASIS: left, RIGHT_BASIS: right},
        of_vectors=OF_VECTORS,
        matrices=Matrices(
            Rule(soap_direction, MOMENTS, nonnegative=("exp_avg_sq",)),
            "eigenbasis",
            unscaled,
            OF_SIDES,
            by_count=True,
        ),
    )


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars; the first step only finds a basis."""
    beta1, beta2 = settings["betas"]
    taken = where(step == 1, 1.0, step - 1)
    inv_sqrt_bias2 = (1 - beta2**taken) ** -0.5
    return {
        "sign": -1.0 if settings["maximize"] else 1.0,
        "mix1": where(step == 1, 0.0, 1 - beta1),
        "decay2": beta2,
        "mix2": where(step == 1, 0.0, 1 - beta2),
        "inv_sqrt_bias2": inv_sqrt_bias2,
        # In the first step, all that it is added to is zero.
        "eps": where(step == 1, 1.0, settings["eps"] * inv_sqrt_bias2),
        "decay": where(step == 1, 0.0, decay_of(settings)),
        "step_size": where(step == 1, 0.0, settings["lr"] / (1 - beta1**taken)),
    }


FAMILY = Family(
    name="soap",
    paper="Vyas et al. 2024, Algorithm 3",
    hyperparameters=(
        LEARNING_RATE,
        BETAS,
        EPS,
        WEIGHT_DECAY,
        Hyperparameter("shampoo_beta", "shampoo_beta value", below=1.0, optional=True),
        Hyperparameter("precondition_frequency", "precondition_frequency value", 1),
        Hyperparameter("max_precond_dim", "max_precond_dim value"),
    ),
    select=lambda settings: rule(settings["max_precond_dim"], bool(settings.get("flatten"))),
    scalars=scalars,
    takes_complex=False,
)
