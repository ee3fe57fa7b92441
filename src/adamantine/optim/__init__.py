"""Drop-in replacements for the classes of ``torch.optim``.

- ``usage``: what a user hands in
- ``state``: what is kept of each parameter between steps
- ``step``: what happens in a step
- ``in_backward``: steps inside of ``backward()``
- ``offload``: states in main memory
- ``step_options``: what all offer around a step
- ``base``, ``sparse``, ``schedule_free``, ``matrices``: the optimizer that all others are; one for
  sparse gradients; one whose parameters differ between training and evaluation; one for matrices
- ``classes``: the optimizers by name
- ``by_name``: the same by what people type
"""

from adamantine.optim.base import RuleOptimizer
from adamantine.optim.classes.adabelief import AdaBelief
from adamantine.optim.classes.adadelta import Adadelta
from adamantine.optim.classes.adafactor import Adafactor
from adamantine.optim.classes.adagrad import Adagrad
from adamantine.optim.classes.adam import Adam, AdamW
from adamantine.optim.classes.adamax import Adamax
from adamantine.optim.classes.adan import Adan
from adamantine.optim.classes.ademamix import AdEMAMix
from adamantine.optim.classes.adopt import ADOPT
from adamantine.optim.classes.asgd import ASGD
from adamantine.optim.classes.lamb import LAMB
from adamantine.optim.classes.lars import LARS
from adamantine.optim.classes.lion import Lion
from adamantine.optim.classes.mars import MARSAdamW, MARSLion
from adamantine.optim.classes.muon import Muon
from adamantine.optim.classes.nadam import NAdam
from adamantine.optim.classes.prodigy import Prodigy
from adamantine.optim.classes.radam import RAdam
from adamantine.optim.classes.rmsprop import RMSprop
from adamantine.optim.classes.rprop import Rprop
from adamantine.optim.classes.schedule_free import (
    AdamWScheduleFree,
    RAdamScheduleFree,
    SGDScheduleFree,
)
from adamantine.optim.classes.sgd import SGD
from adamantine.optim.classes.soap import SOAP
from adamantine.optim.classes.sparse_adam import SparseAdam
from adamantine.optim.classes.stable_adamw import StableAdamW

__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "Adan",
    "Lion",
    "MARSAdamW",
    "MARSLion",
    "Muon",
    "NAdam",
    "Prodigy",
    "RAdam",
    "RAdamScheduleFree",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "SGDScheduleFree",
    "SparseAdam",
    "StableAdamW",
]
