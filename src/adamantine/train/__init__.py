"""The training loop, its checkpoints and its records; it is given a built optimizer."""

from adamantine.train.callbacks import Callbacks
from adamantine.train.config import TrainConfig
from adamantine.train.folder import RunFolder
from adamantine.train.seeds import seed_everything
from adamantine.train.trainer import train

__all__ = ["Callbacks", "RunFolder", "TrainConfig", "seed_everything", "train"]
