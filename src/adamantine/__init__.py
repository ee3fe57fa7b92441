"""Adam for PyTorch without its three costs: memory, step time, and doubt.

From the ground up; a part imports only from those above it (``docs/architecture.md``):

- ``errors``, ``records``, ``version``: what goes wrong, and what a run produced
- ``rules``, ``codecs``: the maths of one element, and what a state is kept in
- ``workloads``, ``report``: what is trained, and the pictures and pages of it
- ``trackers``, ``export``: runs for other people's trackers and programs
- ``backends``: run rules and codecs on tensors
- ``optim``: the optimizers
- ``train``: one training; ``study``: many, compared
- ``cli``: the command line
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from adamantine.version import __version__

if TYPE_CHECKING:
    from torch.optim import LBFGS as LBFGS
    from torch.optim import Optimizer as Optimizer
    from torch.optim import lr_scheduler as lr_scheduler
    from torch.optim import swa_utils as swa_utils

    from adamantine.optim import (
        ADOPT,
        ASGD,
        LAMB,
        LARS,
        SGD,
        SOAP,
        AdaBelief,
        Adadelta,
        Adafactor,
        Adagrad,
        Adam,
        Adamax,
        AdamW,
        AdamWScheduleFree,
        Adan,
        AdEMAMix,
        Lion,
        MARSAdamW,
        MARSLion,
        Muon,
        NAdam,
        Prodigy,
        RAdam,
        RAdamScheduleFree,
        RMSprop,
        Rprop,
        SGDScheduleFree,
        SparseAdam,
        StableAdamW,
    )
    from adamantine.optim.by_name import ours
    from adamantine.optim.state.matching import regroup
    from adamantine.optim.usage.grouping import groups, no_decay
    from adamantine.optim.usage.misuse import check
    from adamantine.optim.usage.options import Options
    from adamantine.optim.usage.zeroing import check_zeroed

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
    "Options",
    "Prodigy",
    "RAdam",
    "RAdamScheduleFree",
    "RMSprop",
    "Rprop",
    "SGDScheduleFree",
    "SparseAdam",
    "StableAdamW",
    "__version__",
    "check",
    "check_zeroed",
    "groups",
    "no_decay",
    "ours",
    "regroup",
]

_TOOLS = {
    "Options": "usage.options",
    "check": "usage.misuse",
    "check_zeroed": "usage.zeroing",
    "groups": "usage.grouping",
    "no_decay": "usage.grouping",
    "ours": "by_name",
    "regroup": "state.matching",
}
"""What goes with the optimizers, by the file they are in."""


def __getattr__(name: str) -> Any:
    # Optimizers load torch, which `adamantine --version` and shell completion can do without.
    if name in __all__:
        file = f".{_TOOLS[name]}" if name in _TOOLS else ""
        return getattr(import_module(f"adamantine.optim{file}"), name)
    # All else that torch.optim has is torch's own. `from adamantine import workloads` asks here
    # first, and is to load no torch.
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is None:
        torchs = import_module("torch.optim")
        if hasattr(torchs, name):
            return getattr(torchs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    torchs = (name for name in dir(import_module("torch.optim")) if not name.startswith("_"))
    return sorted({*globals(), *__all__, *torchs})
