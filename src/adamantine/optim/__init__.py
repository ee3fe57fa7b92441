"""Drop-in replacements for the classes of ``torch.optim``."""

from adamantine.optim.adadelta import Adadelta
from adamantine.optim.adagrad import Adagrad
from adamantine.optim.adam import Adam, AdamW
from adamantine.optim.adamax import Adamax
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.nadam import NAdam
from adamantine.optim.radam import RAdam
from adamantine.optim.rmsprop import RMSprop
from adamantine.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RuleOptimizer",
]
