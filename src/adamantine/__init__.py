"""Adam for PyTorch without its three costs: memory, step time, and doubt."""

from adamantine.optim import SGD, Adam, Adamax, AdamW, RMSprop
from adamantine.version import __version__

__all__ = ["SGD", "Adam", "AdamW", "Adamax", "RMSprop", "__version__"]
