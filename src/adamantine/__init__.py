"""Adam for PyTorch without its three costs: memory, step time, and doubt."""

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
    from adamantine.optim.grouping import groups, no_decay
    from adamantine.optim.matching import regroup
    from adamantine.optim.misuse import check
    from adamantine.optim.options import Options
    from adamantine.optim.zeroing import check_zeroed

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
    "Options": "options",
    "check": "misuse",
    "check_zeroed": "zeroing",
    "groups": "grouping",
    "no_decay": "grouping",
    "regroup": "matching",
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
