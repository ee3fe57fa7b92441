"""Oracles for what torch has not: the papers' algorithm boxes, line by line, by torch's tensors.

Averages ``β m + (1 - β) g`` are torch's ``lerp``, as in torch's own optimizers: the same number,
but NaN where an infinite m meets a finite g.
"""

from oracles.adabelief import AdaBelief
from oracles.adafactor import Adafactor, TorchsAdafactor
from oracles.adan import Adan
from oracles.ademamix import AdEMAMix
from oracles.adopt import ADOPT
from oracles.cautious import (
    CautiousAdam,
    CautiousAdamax,
    CautiousAdamW,
    CautiousNAdam,
    CautiousRAdam,
)
from oracles.lamb import LAMB
from oracles.lars import LARS
from oracles.lion import Lion
from oracles.mars import MARSAdamW, MARSLion
from oracles.prodigy import Prodigy
from oracles.schedule_free import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree
from oracles.soap import SOAP
from oracles.stable_adamw import StableAdamW

__all__ = [
    "ADOPT",
    "LAMB",
    "LARS",
    "SOAP",
    "AdEMAMix",
    "AdaBelief",
    "Adafactor",
    "AdamWScheduleFree",
    "Adan",
    "CautiousAdam",
    "CautiousAdamW",
    "CautiousAdamax",
    "CautiousNAdam",
    "CautiousRAdam",
    "Lion",
    "MARSAdamW",
    "MARSLion",
    "Prodigy",
    "RAdamScheduleFree",
    "SGDScheduleFree",
    "StableAdamW",
    "TorchsAdafactor",
]
