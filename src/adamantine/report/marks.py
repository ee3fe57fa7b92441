"""How contestants are told apart: a colour each, and a dash and a symbol besides.

Twelve contestants have pairs of colour and dash of their own, and eight have a symbol of their
own, so that a page printed in grey can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

from adamantine.report.panels import COLOURS

DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = (
    ("circle", "●"),
    ("square", "■"),
    ("diamond", "◆"),
    ("triangle-up", "▲"),
    ("triangle-down", "▼"),
    ("cross", "✚"),
    ("star", "★"),
    ("pentagon", "⬟"),
)
LINE_STYLES = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dashdot"}
STROKES = {"solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v",
    "cross": "P", "star": "*", "pentagon": "p",
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One contestant's colour, dash and symbol, by Plotly's names; `glyph` is for text."""

    colour: str
    dash: str
    symbol: str
    glyph: str

    @property
    def line_style(self) -> str:
        """The dash, as Matplotlib calls it."""
        return LINE_STYLES[self.dash]

    @property
    def marker(self) -> str:
        """The symbol, as Matplotlib calls it."""
        return MARKERS[self.symbol]

    @property
    def stroke(self) -> str:
        """The dash, as SVG's ``stroke-dasharray``."""
        return STROKES[self.dash]

    def shade(self, opacity: float) -> str:
        """The colour for CSS and Plotly, with this opacity."""
        red, green, blue = (int(self.colour[start : start + 2], 16) for start in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity})"


def mark(index: int) -> Mark:
    """The mark of the contestant of this index."""
    symbol, glyph = SYMBOLS[index % len(SYMBOLS)]
    return Mark(COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)], symbol, glyph)
