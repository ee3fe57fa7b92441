"""SGD's steps without gradient, in closed form: the rule is linear, so they are a matrix.

With g = 0 (or g = λθ, under an L2 penalty) a step turns (θ, b) into linear combinations of both.
Run on (1, 0) and (0, 1), the rule itself gives the two columns, whatever its settings; products of
such matrices are what many steps do. There is no approximation.
"""

from adamantine.rules.catch_up.catch_up import CatchUp, always
from adamantine.rules.ops import where
from adamantine.rules.sgd import momentum_sgd, sgd


def advance_sgd(param_of_param, sign, l2, step_size):
    return sgd(param_of_param, 0.0, sign, l2, step_size)


def advance_momentum(
    param_of_param, buffer_of_param, param_of_buffer, buffer_of_buffer,
    sign, l2, momentum, mix, nesterov, step_size,
):  # fmt: skip
    return (
        *momentum_sgd(
            param_of_param, 0.0, buffer_of_param, sign, l2, momentum, mix, nesterov, step_size
        ),
        *momentum_sgd(
            param_of_buffer, 0.0, buffer_of_buffer, sign, l2, momentum, mix, nesterov, step_size
        ),
    )


def split(kept):
    """A factor as ``whole + share``, so that float32 neither rounds 1 - 1e-9 nor cancels."""
    return where(kept > 0.5, 1.0, 0.0), where(kept > 0.5, kept - 1.0, kept)


def coefficients_sgd(param_of_param):
    return (1.0, *split(param_of_param))


def coefficients_momentum(param_of_param, buffer_of_param, param_of_buffer, buffer_of_buffer):
    return (1.0, *split(param_of_param), param_of_buffer, buffer_of_param, buffer_of_buffer)


def catch_up_sgd(param, whole, share):
    return (whole * param + where(share, share * param, share),)


def catch_up_momentum(
    param, momentum_buffer, whole, share, param_of_buffer, buffer_of_param, buffer_of_buffer
):
    moved = param_of_buffer * momentum_buffer
    kept = buffer_of_buffer * momentum_buffer
    return (
        whole * param + where(share, share * param + moved, moved),
        where(buffer_of_param, kept + buffer_of_param * param, kept),
    )


SGD = CatchUp((1.0,), advance_sgd, coefficients_sgd, catch_up_sgd, always)
MOMENTUM_SGD = CatchUp(
    (1.0, 0.0, 0.0, 1.0),
    advance_momentum,
    coefficients_momentum,
    catch_up_momentum,
    always,
)
