"""Which rules catch up in closed form."""

from adamantine.rules import adagrad, adagrad_idle, adam, adam_idle, sgd, sgd_idle
from adamantine.rules.idle import STEPPED, Idle
from adamantine.rules.rule import Rule

_CLOSED_FORMS = {
    adagrad.ADAGRAD: adagrad_idle.ADAGRAD,
    adam.ADAM: adam_idle.ADAM,
    adam.AMSGRAD: adam_idle.AMSGRAD,
    sgd.SGD: sgd_idle.SGD,
    sgd.MOMENTUM_SGD: sgd_idle.MOMENTUM_SGD,
}


def idle_of(rule: Rule) -> Idle:
    """The closed form of the steps that `rule` does without a gradient, or `STEPPED`."""
    return _CLOSED_FORMS.get(rule, STEPPED)
