"""Ctrl-C, taken between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - it is what the user asked for, not an error
    """Ctrl-C; the message says what is kept and how to go on."""


class Interrupt:
    """While entered, a first Ctrl-C waits for :meth:`check`; a second one does not wait.

    Python raises ``KeyboardInterrupt`` anywhere: in the middle of drawing the bar, say, which then
    cannot be taken away any more.
    """

    def __init__(self) -> None:
        self._pending = False
        self._previous: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if there was a Ctrl-C."""
        if self._pending:
            raise KeyboardInterrupt

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self.check()
        self._pending = True
