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
    for name in ("SIGHUP", "SIGALRM", "SIGTERM", "SIGINT")
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
        try:
            for number in _NUMBERS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._note)
        except BaseException:  # of the handler of a signal that does not wait yet
            self._restore()
            raise

    def _note(self, number: int, frame: Any) -> None:
        self._came.append((number, frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._restore()
        finally:
            self._deliver()

    def _restore(self) -> None:
        """Put all handlers back, whatever those raise that are back already."""
        raised: BaseException | None = None
        while self._handlers:
            try:
                for number in list(self._handlers):
                    _signal.signal(number, self._handlers[number])
                    del self._handlers[number]
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised

    def _deliver(self) -> None:
        """Run the handlers of the signals that came, the next one also where one raises."""
        while self._came:
            number, frame = self._came.pop(0)
            try:
                handler = _signal.getsignal(number)
                if callable(handler):
                    handler(number, frame)
            finally:
                if self._came:
                    self._deliver()
