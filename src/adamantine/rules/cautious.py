"""Cautious updates: no step in a direction that the present gradient speaks against.

Liang, Chen, Liu and Liu, "Cautious Optimizers: Improving Training with One Line of Code", 2024,
Algorithm 1, for any optimizer's update u::

    φ_t = 1 where u_t g_t > 0, else 0
    θ_t = θ_{t-1} - α (φ_t / mean(φ_t)) u_t

The mean is over one parameter tensor: the elements that still move go further, so that the tensor
moves as far as before. Against a mean of zero the paper's first version writes d / (Σφ + 1) for d
elements, which halves the step of a tensor of one; the last one adds an ε to the mean. The
authors' code takes max(mean, 0.001), and so do we. Weight decay that is decoupled is not masked.

The mean is not known before all elements have been looked at: a count (:class:`Sums`).
"""

from collections.abc import Callable
from dataclasses import replace
from types import FunctionType
from typing import Any

from adamantine.rules import ops
from adamantine.rules.ops import absolute, maximum, signum, where
from adamantine.rules.rule import Rule, Settings, Sums, bind
from adamantine.rules.sgd import regularised
from adamantine.rules.weight_decay import with_cautious_decay

SMALLEST_SHARE = 1e-3

OPERATIONS = {name: f for name, f in vars(ops).items() if isinstance(f, FunctionType)}
"""Left as they are, for the backends to bind."""

RESCALE = {"rescale": 1.0}
"""The host scalar of :func:`cautious`, until the mean is known."""


def agreement(x, y):
    # By signs: a product of two small numbers may vanish.
    product = signum(x) * signum(y)
    return product + absolute(product)  # 2 where they agree, 0 where not


def cautious(update, direction, grad, rescale):  # noqa: ARG001 - for those of `masked`
    # What a rule calls where it could be cautious; its cautious form has `masked` in this place.
    # A switch inside of one rule costs Adam a third more where all its tensors are in the caches.
    return update


def masked(update, direction, grad, rescale):
    """`rescale` times the update; 0 where `direction`, which has its sign, and `grad` disagree."""
    agree = agreement(direction, grad)
    return where(agree, rescale * update, agree)


def momentum_agrees(param, grad, exp_avg, sign, l2, mix1):
    grad = regularised(param, grad, sign, l2)
    return (agreement(exp_avg + mix1 * (grad - exp_avg), grad),)


def rescaling(agreeing, elements):
    return 1 / maximum(agreeing / elements, SMALLEST_SHARE)


def cautious_form(rule: Rule, agrees: Callable[..., Any] = momentum_agrees) -> Rule:
    """`rule` with caution, and its scalar ``rescale`` as `agrees` says."""
    update = bind(rule.update, {**OPERATIONS, "cautious": masked})
    update.__name__ = f"cautious_{rule.name}"
    count = Sums(agrees, ("agreeing",), "count", "rescale", rescaling)
    return replace(rule, update=update, sums=count)


def with_cautious_form(
    rule: Rule, agrees: Callable[..., Any] = momentum_agrees
) -> Callable[[Settings], Rule]:
    """Choose between `rule` and its cautious forms by a group's settings."""
    forms = {False: rule, True: cautious_form(rule, agrees)}

    def select(settings: Settings) -> Rule:
        # Torch's own groups have no such settings.
        form = forms[bool(settings.get("cautious"))]
        return with_cautious_decay(form) if settings.get("cautious_weight_decay") else form

    return select
