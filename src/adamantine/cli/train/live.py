"""Curves of a training, drawn in the terminal with plotext."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from adamantine.cli.train.output import TerminalOutput
from adamantine.records import EpochRecord

if TYPE_CHECKING:
    from rich.console import RenderableType

HEIGHT, WIDEST = 14, 110


class LiveOutput(TerminalOutput):
    """Draws the curves so far above the bar, and leaves the last ones on standard error.

    Where standard error is no terminal, only the last ones are drawn.
    """

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json=as_json)
        self.on_terminal = sys.stderr.isatty()
        self._records: list[EpochRecord] = []
        self._drawn = ""

    def above_the_bar(self) -> Iterable[RenderableType]:
        """The curves of the epochs so far."""
        from rich.text import Text

        return [Text(self._drawn)] if self._drawn else []

    def on_epoch_start(self, epoch: int, steps: int | None) -> None:
        """Start the epoch's bar, on a terminal."""
        if self.on_terminal:
            super().on_epoch_start(epoch, steps)
        else:
            super(TerminalOutput, self).on_epoch_start(epoch, steps)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Print the epoch's result, and draw anew."""
        super().on_epoch_end(record)
        self._records.append(record)
        width = min(shutil.get_terminal_size().columns, WIDEST)
        self._drawn = curves(self._records, width)

    def finish(self) -> None:
        """Leave the last curves."""
        if self._drawn:
            print(self._drawn, file=sys.stderr)
            self._drawn = ""


def curves(records: Sequence[EpochRecord], width: int) -> str:
    """Training loss on the left, the test metric on the right, without colours."""
    metric = records[-1].metric
    lines = {
        "Average loss": [record.average_loss for record in records],
        f"Test {metric}": [record.test_metric for record in records],
    }
    figure = _figure()
    figure.plot_size(width, HEIGHT)
    figure.subplots(1, len(lines))
    epochs = [record.epoch for record in records]
    for column, (title, values) in enumerate(lines.items(), 1):
        known = [(x, y) for x, y in zip(epochs, values, strict=True) if math.isfinite(y)]
        part = figure.subplot(1, column)
        part.title(title)
        part.label("epoch")
        if known:
            signal = part.signal(*map(list, zip(*known, strict=True)), marker="braille")
            part.draw(signal.lines())
    return str(figure.build().string(colorless=True))


def _figure() -> Any:
    """Plotext's only figure, empty."""
    import plotext

    figure = plotext.figure
    figure.clear()
    return figure
