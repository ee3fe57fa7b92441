"""Drop-in replacements for the classes of ``torch.optim``."""

from adamantine.optim.adabelief import AdaBelief
from adamantine.optim.adadelta import Adadelta
from adamantine.optim.adagrad import Adagrad
from adamantine.optim.adam import Adam, AdamW
from adamantine.optim.adamax import Adamax
from adamantine.optim.adan import Adan
from adamantine.optim.adopt import ADOPT
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.lion import Lion
from adamantine.optim.nadam import NAdam
from adamantine.optim.radam import RAdam
from adamantine.optim.rmsprop import RMSprop
from adamantine.optim.sgd import SGD

__all__ = [
    "ADOPT",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RuleOptimizer",
]
