"""Where a step of some rows only differs from a dense one: in ε, for Adam.

``torch.optim.SparseAdam`` adds ε to the root of the uncorrected second moment, as the paper's
remark on efficiency does (section 2, the last lines before 2.1). In Adam's own terms that ε is
divided by √(1 - β2^t): thirty times larger in the first step, the same after some thousand.
"""

from collections.abc import Mapping
from typing import Any

from adamantine.rules.adam import ADAM, AMSGRAD
from adamantine.rules.rule import Rule
from adamantine.rules.weight_decay import with_cautious_decay

_ADAMS = {form.name for rule in (ADAM, AMSGRAD) for form in (rule, with_cautious_decay(rule))}


def differs(rule: Rule) -> bool:
    """Whether a step of some rows has other scalars than a dense one."""
    return rule.name in _ADAMS


def lazy_scalars(rule: Rule, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
    """Host scalars of a step that touches some rows, from those of a dense step."""
    if differs(rule):
        return {**scalars, "eps": scalars["eps"] * scalars["inv_sqrt_bias2"]}
    return scalars
