"""One training: the loop, its checkpoints and its records; it is given a built optimizer.

- ``config``, ``schedules``: how to train; ``seeds``: with which random numbers
- ``trainer``: the whole run, epoch after epoch; ``loop``: one epoch, and a test
- ``devices``, ``tables``: data to where the model is; embeddings with sparse gradients
- ``epoch_stats``, ``machine``: what a record holds beside losses
- ``callbacks``: who is told meanwhile, trackers among them
- ``folder``: a run's folder, and who may write there; ``files``: whole files or none
- ``checkpoint``, ``resuming``: what a run needs to go on, and whether it can
- ``processes``: several that share a run, which the loop does not notice
- ``diagnosis``: why a loss is not finite
"""

from adamantine.train.callbacks import Callbacks
from adamantine.train.config import TrainConfig
from adamantine.train.folder import RunFolder
from adamantine.train.seeds import seed_everything
from adamantine.train.trainer import train

__all__ = ["Callbacks", "RunFolder", "TrainConfig", "seed_everything", "train"]
