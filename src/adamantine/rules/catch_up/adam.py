r"""Adam's steps without gradient, in closed form.

Let a row have θ, m, v after step s, and no gradient in steps s+1 … t. There the moments fade,
m_i = β1^(i-s) m and v_i = β2^(i-s) v, and so, with D the product of all (1 - γλ)::

    θ_t = D θ - m Σ w_i / (√v / u_i + ε)
    w_i = γ_i / (1 - β1^i) · β1^(i-s) · Π_{j>i} (1 - γ_j λ)
    u_i = √(1 - β2^i) / β2^((i-s)/2)

The w and u depend on s and t, not on the row. What is left is a function of x = √v alone::

    F(x) = Σ ρ_i u_i² / (x + ε u_i),       ρ_i = w_i / u_i

an integral over the positive measure ρ. Gauss quadrature with two nodes is exact for polynomials
in u up to degree three, and needs nothing but the moments M_p = Σ ρ_i u_i^p, which are sums that a
further step adds one term to. With their help the nodes need not even be computed: if S is their
sum and T their product, the quadrature is

    F(x) ≈ (M_2 x + ε T M_1) / (x² + ε S x + ε² T) = M_2 / (x + p + b / (x + r))

The measure is ρ and not w or w u, because then both ends are exact, x = 0 (only M_1 counts there)
and ε = 0 (only M_2): the approximation is the two-point Padé approximant of F, whose error is
largest around x = ε and falls with the square of the distance on both sides. That error is known:
for some u between the smallest and the largest,

    F(x) - approximation = N x² ε² / (x + ε u)^5,      N = Σ ρ_i (u_i - u_1)² (u_i - u_2)²
                                                         = M_4 - S M_3 + T M_2

Relative to F it is at most R z² / (z + a)^4 with z = x/ε, a the smallest u and
R = N T / (a³ M_1), so at most R / (16 a²). Where that exceeds `TOLERANCE`, elements
are looked at one by one; see docs/sparse.md for measured figures.

AMSGrad divides by the largest v so far, which does not fade: u_i = √(1 - β2^i), the rest is alike.
An L2 penalty makes the gradient θ-dependent, and decay by more than everything makes ρ negative:
such steps turn the sums into NaN, which covers nothing, and are stepped through.
"""

from math import inf, nan

from adamantine.rules.catch_up.catch_up import CatchUp
from adamantine.rules.ops import sqrt, where

TOLERANCE = 1e-6
"""Largest relative error of a row's displacement that the quadrature may make."""

FLAT = 1e-12
"""Relative variance of u below which it counts as one number: what float64 leaves of it."""


def _weighed(kept1, u, lost, m0, m1, m2, m3, m4, lowest, l2, decay, step_size):
    keep = 1.0 - decay
    weight = step_size * kept1
    return (
        where(l2, nan, where(decay > 1.0, nan, lost + decay * (1.0 - lost))),
        keep * m0 + weight / u,
        keep * m1 + weight,
        keep * m2 + weight * u,
        keep * m3 + weight * u * u,
        keep * m4 + weight * u * u * u,
        where(u < lowest, u, lowest),
    )


def advance_adam(
    kept1, kept2, lost, m0, m1, m2, m3, m4, lowest,
    l2, mix1, decay2, decay, step_size, inv_sqrt_bias2,
):  # fmt: skip
    kept1 = (1.0 - mix1) * kept1
    kept2 = decay2 * kept2
    u = 1.0 / (sqrt(kept2) * inv_sqrt_bias2)
    return (
        kept1, kept2,
        *_weighed(kept1, u, lost, m0, m1, m2, m3, m4, lowest, l2, decay, step_size),
    )  # fmt: skip


def advance_amsgrad(
    kept1, kept2, lost, m0, m1, m2, m3, m4, lowest,
    l2, mix1, decay2, decay, step_size, inv_sqrt_bias2,
):  # fmt: skip
    kept1 = (1.0 - mix1) * kept1
    u = 1.0 / inv_sqrt_bias2
    return (
        kept1, decay2 * kept2,
        *_weighed(kept1, u, lost, m0, m1, m2, m3, m4, lowest, l2, decay, step_size),
    )  # fmt: skip


def coefficients(kept1, kept2, lost, m0, m1, m2, m3, m4, lowest, eps):
    # Without any weight (β1 = 0, or a learning rate of zero) the moments stand for nothing, and
    # scale = 0: the numbers that replace them have only to be harmless.
    total = where(m1, m0, 1.0)
    mean = m1 / total
    square = m2 / total
    variance = square - mean * mean
    spread = variance > FLAT * mean * mean
    third = m3 / total - 3.0 * mean * square + 2.0 * mean * mean * mean
    skew = where(spread, third / where(spread, variance, 1.0), 0.0)
    node_sum = mean + mean + skew
    node_product = where(m1, mean * mean + mean * skew - variance, 1.0)
    near = eps * where(m1, node_product * m1 / where(m1, m2, 1.0), 1.0)
    far = where(m1, eps * node_sum - near, 1.0)
    bend = eps * eps * node_product - near * far
    norm = m4 - node_sum * m3 + node_product * m2
    norm = where(norm < 0.0, 0.0, norm)  # rounding
    lowest = where(lost == lost, where(m1, lowest, 1.0), nan)
    ratio = norm * node_product / (lowest * lowest * lowest * where(m1, m1, 1.0))
    blur = sqrt(ratio / TOLERANCE)
    sure = where(blur <= 4.0 * lowest, 1.0, 0.0)
    # θ - lost θ is accurate while little is lost, and (1 - lost) θ when much is.
    whole = where(lost < 0.5, 1.0, 0.0)
    share = where(lost < 0.5, -lost, 1.0 - lost)
    return (
        sure, whole, share, kept1, kept2, where(m1, m2, 0.0),
        near, far, where(m1, bend, 0.0), eps * blur, eps * lowest,
    )  # fmt: skip


def moved(param, exp_avg, square, whole, share, scale, near, far, bend):
    root = sqrt(square)
    update = exp_avg * scale / (root + far + bend / (root + near))
    return whole * param + (where(share, share * param - update, -update))


def covered(exp_avg, square, blur, floor):
    root = sqrt(square)
    return where(exp_avg, blur * root / (root + floor), root) <= root + floor


def catch_up_adam(
    param, exp_avg, exp_avg_sq,
    whole, share, kept1, kept2, scale, near, far, bend, blur, floor,
):  # fmt: skip
    param = moved(param, exp_avg, exp_avg_sq, whole, share, scale, near, far, bend)
    return param, kept1 * exp_avg, kept2 * exp_avg_sq


def catch_up_amsgrad(
    param, exp_avg, exp_avg_sq, max_exp_avg_sq,
    whole, share, kept1, kept2, scale, near, far, bend, blur, floor,
):  # fmt: skip
    param = moved(param, exp_avg, max_exp_avg_sq, whole, share, scale, near, far, bend)
    return param, kept1 * exp_avg, kept2 * exp_avg_sq, max_exp_avg_sq


def covers_adam(
    param, exp_avg, exp_avg_sq,
    whole, share, kept1, kept2, scale, near, far, bend, blur, floor,
):  # fmt: skip
    return covered(exp_avg, exp_avg_sq, blur, floor)


def covers_amsgrad(
    param, exp_avg, exp_avg_sq, max_exp_avg_sq,
    whole, share, kept1, kept2, scale, near, far, bend, blur, floor,
):  # fmt: skip
    return covered(exp_avg, max_exp_avg_sq, blur, floor)


START = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, inf)
ADAM = CatchUp(START, advance_adam, coefficients, catch_up_adam, covers_adam)
AMSGRAD = CatchUp(START, advance_amsgrad, coefficients, catch_up_amsgrad, covers_amsgrad)
