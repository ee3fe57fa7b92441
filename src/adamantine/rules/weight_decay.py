"""Weight decay that shrinks the parameter itself: by how much, and which of its elements.

Decoupled, as torch has it (Loshchilov and Hutter, 2019, but for a constant)::

    θ_t = θ_{t-1} - u_t - γ_t λ θ_{t-1}

``decouple_lr`` is the paper's own form, in which λ is multiplied by the schedule's factor alone::

    γ_t λ  becomes  (γ_t / γ_max) λ

``corrected_weight_decay`` is AdamC's (Defazio, "Why Gradients Rapidly Increase Near the End of
Training", 2025, Algorithm 1): λ itself follows the schedule, so that gradients of normalised layers
do not grow when it ends::

    λ  becomes  (γ_t / γ_max) λ

``cautious_weight_decay`` (Chen et al., "Cautious Weight Decay", 2025, Algorithm 1) leaves out the
elements that the update moves away from zero, where the decay would work against it::

    θ_t = θ_{t-1} - u_t - γ_t λ θ_{t-1}    where u_t θ_{t-1} ≥ 0, else θ_{t-1} - u_t

The ≥ is the paper's (its indicator is that of u_t θ_t ≥ 0): what is not updated decays as well.
"""

from dataclasses import replace
from functools import cache
from types import FunctionType
from typing import Any

from adamantine.rules import ops
from adamantine.rules.ops import absolute, signum, where
from adamantine.rules.rule import Rule, Settings, bind

_OPERATIONS = {name: f for name, f in vars(ops).items() if isinstance(f, FunctionType)}


def descend(param, update, decay):
    # The paper's form, with one rounding. First (1 - αλ) θ and then the update, as torch does,
    # rounds a factor so near to 1 the same way in every step.
    return param - where(decay, update + decay * param, update)


def descend_cautiously(param, update, decay):
    # By signs: a product of two small numbers may vanish.
    alignment = signum(update) * signum(param)
    apart = absolute(alignment) - alignment
    return param - where(decay, where(apart, update, update + decay * param), update)


@cache
def with_cautious_decay(rule: Rule) -> Rule:
    """`rule`, whose decay is cautious."""
    update = bind(rule.update, {**_OPERATIONS, "descend": descend_cautiously})
    update.__name__ = f"{rule.name}_with_cautious_decay"
    return replace(rule, update=update)


def decay_of(settings: Settings) -> Any:
    """The host scalar of :func:`descend`: γ_t λ, or what a group's switches make of it."""
    lr, weight_decay = settings["lr"], settings["weight_decay"]
    decoupled = settings.get("decouple_lr")
    corrected = settings.get("corrected_weight_decay")
    if not (decoupled or corrected):
        return lr * weight_decay
    # A group that was given a switch later on has no highest rate, but a scheduler may know it.
    highest = settings.get("max_lr") or settings.get("initial_lr") or lr
    share = lr / highest if highest else 0.0
    return weight_decay * (share if decoupled else lr) * (share if corrected else 1.0)
