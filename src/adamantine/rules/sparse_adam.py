"""SparseAdam: Adam's steps for the rows that have a gradient, and none for the others.

Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1, by Adam's rule
without decay; see :mod:`.lazy` for its ε. Steps are counted for the whole table.
"""

from typing import Any

from adamantine.rules.adam import ADAM
from adamantine.rules.adam import scalars as adam_scalars
from adamantine.rules.hyperparameters import BETAS, EPS, LEARNING_RATE
from adamantine.rules.rule import Family, Settings

_WITHOUT_DECAY = {"weight_decay": 0.0, "decoupled_weight_decay": False}


def scalars(settings: Settings, step: float) -> dict[str, Any]:
    """Host scalars of step `step`, of a dense step."""
    return adam_scalars({**settings, **_WITHOUT_DECAY}, step)


FAMILY = Family(
    name="sparse-adam",
    paper="Kingma and Ba 2015, Algorithm 1",
    hyperparameters=(LEARNING_RATE, EPS, BETAS),
    select=lambda _: ADAM,
    scalars=scalars,
)
