"""Misspelt settings, with the one that was probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from adamantine.optim.usage.misuse import warn
from adamantine.optim.usage.options import NAMES

_OTHER_NAMES = {
    "learning_rate": "lr",
    "step_size": "lr",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "epsilon": "eps",
    "beta": "betas",
    "beta1": "betas",
    "beta2": "betas",
    "b1": "betas",
    "b2": "betas",
    "rho": "alpha",
}
"""What other libraries and papers call it."""


def with_suggestions(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, whose ``TypeError`` for an unknown keyword names the nearest one that it takes."""
    parameters = inspect.signature(init).parameters.values()
    others = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    if others and others[0].annotation != "Unpack[Options]":
        return init
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)][1:]
    known += NAMES if others else ()

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in known:
                meant = nearest(name, known, cutoff=0.6)
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}"
                    + (f". Did you mean {meant!r}?" if meant else f"; it takes {', '.join(known)}")
                )
        init(self, *args, **kwargs)

    return checked


def warn_of_misspelt_keys(group: dict[str, Any], known: Collection[str]) -> None:
    """Warn of keys in a parameter group that are nearly a setting.

    A group may carry keys of any other name (schedulers and users put theirs there), so only what
    is very near counts. A setting's name with more words (``max_momentum``) is another name.
    """
    for key in group.keys() - known - {"params", "param_names"}:
        meant = nearest(key, known, cutoff=0.82) if isinstance(key, str) else None
        if meant is not None and not re.search(rf"(^|_){meant}(_|$)", key):
            warn(
                f"a parameter group has the key {key!r}, which no setting is called, so it has no "
                f"effect; did you mean {meant!r}?"
            )


def nearest(word: str, known: Collection[str], cutoff: float) -> str | None:
    """The one of `known` that `word` was probably meant to be, if it is so near."""
    other = _OTHER_NAMES.get(word) if cutoff < 0.7 else None  # a guess, good enough for an error
    if other in known:
        return other
    swapped = [
        name for name in known if sorted(name) == sorted(word)
    ]  # difflib counts these as far
    spelt = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), spelt, 1, cutoff)
    return next(iter([*swapped, *(spelt[name] for name in close)]), None)
