"""Signals wait while a step writes: Ctrl-C finds a step done or not begun."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_NUMBERS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
"""Those that programs let raise an exception."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Python's handlers of signals run after the block instead of inside it.

    They run in the main thread alone, so there is nothing to do in others. Costs some microseconds;
    what one call of compiled code does needs none of this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Callable[..., Any]] = {}
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
    came: list[tuple[int, Any]] = []
    try:
        for number in handlers:
            signal.signal(number, lambda *arguments: came.append(arguments))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came:
            handlers[number](number, frame)
