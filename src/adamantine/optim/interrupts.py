"""Signals wait while a step writes: Ctrl-C finds a step done or not begun."""

from __future__ import annotations

# `signal` makes enumerations of numbers and back, which takes ten times as long.
import _signal
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

_NUMBERS = [
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
"""Those that programs let raise an exception."""


class Uninterrupted:
    """A block after which Python's handlers of signals run, instead of inside it.

    They run in the main thread alone, so there is nothing to do in others. Costs two microseconds;
    what one call of compiled code does needs none of this.
    """

    def __enter__(self) -> None:
        self._handlers: dict[int, Callable[..., Any]] = {}
        self._came: list[tuple[int, Any]] = []
        if threading.get_ident() != threading.main_thread().ident:
            return
        for number in _NUMBERS:
            handler = _signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                _signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self._came.append((number, frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            _signal.signal(number, handler)
        for number, frame in self._came:
            self._handlers[number](number, frame)
