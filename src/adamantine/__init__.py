"""Adam for PyTorch without its three costs: memory, step time, and doubt.

From the ground up; a part imports only from those above it (``docs/architecture.md``):

- ``errors``, ``records``, ``version``: what goes wrong, and what a run produced
- ``rules``, ``codecs``: the maths of one element, and what a state is kept in
- ``workloads``, ``report``: what is trained, and the pictures and pages of it
- ``backends``: run rules and codecs on tensors
- ``optim``: the optimizers
- ``train``: one training; ``study``: many, compared
- ``cli``: the command line
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adamantine.version import __version__

if TYPE_CHECKING:
    from adamantine.optim import (
        ADOPT,
        SGD,
        AdaBelief,
        Adadelta,
        Adagrad,
        Adam,
        Adamax,
        AdamW,
        Adan,
        Lion,
        NAdam,
        RAdam,
        RMSprop,
    )
    from adamantine.optim.state.matching import regroup
    from adamantine.optim.usage.grouping import groups, no_decay
    from adamantine.optim.usage.misuse import check
    from adamantine.optim.usage.options import Options
    from adamantine.optim.usage.zeroing import check_zeroed

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
    "Options",
    "RAdam",
    "RMSprop",
    "__version__",
    "check",
    "check_zeroed",
    "groups",
    "no_decay",
    "regroup",
]

_TOOLS = {
    "Options": "usage.options",
    "check": "usage.misuse",
    "check_zeroed": "usage.zeroing",
    "groups": "usage.grouping",
    "no_decay": "usage.grouping",
    "regroup": "state.matching",
}
"""What goes with the optimizers, by the file they are in."""


def __getattr__(name: str) -> Any:
    # Optimizers load torch, which `adamantine --version` and shell completion can do without.
    if name in __all__:
        file = f".{_TOOLS[name]}" if name in _TOOLS else ""
        return getattr(import_module(f"adamantine.optim{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
