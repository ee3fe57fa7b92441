"""Drop-in replacements for the classes of ``torch.optim``."""

from adamantine.optim.adam import Adam, AdamW
from adamantine.optim.adamax import Adamax
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.rmsprop import RMSprop
from adamantine.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Adamax", "RMSprop", "RuleOptimizer"]
