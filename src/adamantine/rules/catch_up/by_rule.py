"""Which rules catch up in closed form."""

from adamantine.rules.adagrad import ADAGRAD
from adamantine.rules.adam import ADAM, AMSGRAD
from adamantine.rules.catch_up import adagrad, adam, sgd
from adamantine.rules.catch_up.catch_up import STEPPED, CatchUp
from adamantine.rules.rule import Rule
from adamantine.rules.sgd import MOMENTUM_SGD, SGD

_CLOSED_FORMS = {
    ADAGRAD: adagrad.ADAGRAD,
    ADAM: adam.ADAM,
    AMSGRAD: adam.AMSGRAD,
    SGD: sgd.SGD,
    MOMENTUM_SGD: sgd.MOMENTUM_SGD,
}


def catch_up_of(rule: Rule) -> CatchUp:
    """The closed form of the steps that `rule` does without a gradient, or `STEPPED`."""
    return _CLOSED_FORMS.get(rule, STEPPED)
