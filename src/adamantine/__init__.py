"""Adam for PyTorch without its three costs: memory, step time, and doubt."""

from typing import TYPE_CHECKING, Any

from adamantine.version import __version__

if TYPE_CHECKING:
    from adamantine.optim import (
        SGD,
        Adadelta,
        Adagrad,
        Adam,
        Adamax,
        AdamW,
        NAdam,
        RAdam,
        RMSprop,
    )

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Optimizers load torch, which `adamantine --version` and shell completion can do without.
    if name in __all__:
        from adamantine import optim

        return getattr(optim, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
