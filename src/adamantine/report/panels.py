"""What every picture of runs is made of: its colours and letters, panels, and labels at line ends.

Colours are Okabe and Ito's, which people with any colour vision can tell apart; lines carry
their own labels, so nothing depends on a legend. Equal records give equal bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from adamantine.records import RunRecord
from adamantine.report.fonts import FONT, add_fonts, without_a_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from typing_extensions import Self

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT, GRID = "#222222", "#6B6B6B", "#E8E8E8"
STYLE = {
    "font.family": FONT,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": "#BBBBBB",
    "ytick.color": "#BBBBBB",
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
}
BEGIN, END = 11, 18
"""Letters of a long name that are shown: which part or class it is of, and what it is there."""
SOURCE = "Adamantine"
"""Says in a picture's file who has drawn it."""
LONGEST = 1e150
"""Losses that exploded go beyond it; the length of an axis, and its square, have to be numbers."""
LABEL_GAP = 0.075  # of a panel's height: two lines' labels are at least so far apart


@dataclass(frozen=True)
class Line:
    """One curve: its label, colour and a value for each epoch."""

    label: str
    colour: str
    epochs: Sequence[int]
    values: Sequence[float]
    dashes: str = "solid"


def picture(
    title: str,
    size: tuple[float, float],
    panels: tuple[int, int],
    paint: Callable[..., None],
    **ratios: Sequence[float],
) -> bytes:
    """A PNG of `size` inches with (rows, columns) `panels`, which `paint` is given row by row.

    `ratios` are ``width_ratios`` and ``height_ratios`` where panels differ in size.
    """
    # Matplotlib is imported here because it takes a second; no pyplot: it keeps global state.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style.context(["default", STYLE]), without_a_word():
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.02)
        figure = Figure(figsize=size, dpi=200, layout=layout)
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.018, ha="left", fontsize=10.5, color=FAINT)
        paint(*figure.subplots(*panels, squeeze=False, gridspec_kw=ratios).flat)
        add_fonts(figure)
        return _png(figure)


@dataclass(frozen=True)
class Picture:
    """A picture before it is drawn: inches, columns, and what paints its panels row by row."""

    size: tuple[float, float]
    columns: int
    panels: Sequence[Callable[[Axes], None]]

    def draw(self, title: str) -> bytes:
        """Its PNG."""

        def paint(*grid: Axes) -> None:
            for axes, panel in zip(grid, self.panels, strict=True):
                panel(axes)

        return picture(title, self.size, (len(self.panels) // self.columns, self.columns), paint)


def drawn(title: str, pictures: Mapping[str, Picture]) -> dict[str, bytes]:
    """PNGs by file name; those with nothing to show are left out."""
    return {name: one.draw(plain(title)) for name, one in pictures.items() if one.panels}


class Readable(Protocol):
    """A record that can be written and read."""

    def to_json(self) -> dict[str, Any]:
        """As its file holds it."""

    @classmethod
    def from_json(cls, data: Any, source: str = "") -> Self:
        """Read what :meth:`to_json` wrote."""


R = TypeVar("R", bound=Readable)


def drawable(record: R) -> R:
    """The record with numbers that fit on an axis; others are as those that are not finite."""
    data = record.to_json()
    short = _shorter(data)
    return record if short == data else type(record).from_json(short)


def _shorter(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shorter(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_shorter(element) for element in value]
    return None if isinstance(value, float) and abs(value) > LONGEST else value


def heading(axes: Axes, title: str, along: str = "") -> None:
    """A panel's title, and what its horizontal axis is."""
    axes.set_title(plain(title), loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel(plain(along), color=FAINT)


def per_cent(axis: Axis, wanted: bool) -> None:
    """Write the ticks of an axis as percentages, if so `wanted`."""
    if wanted:
        axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}%")


def plain(value: str) -> str:
    """Without what Matplotlib takes for a formula."""
    return value.replace("$", r"\$")


def panel(axes: Axes, title: str, lines: list[Line]) -> None:
    """Draw the lines over epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    for line in lines:
        # Markers while there are few epochs: a run of one would be invisible without.
        marker = "o" if len(line.epochs) <= 12 else ""
        axes.plot(
            line.epochs, line.values, color=line.colour, linewidth=2, linestyle=line.dashes,
            marker=marker, markersize=4.5, solid_capstyle="round", clip_on=False, zorder=3,
        )  # fmt: skip
    last = max(max(line.epochs) for line in lines)
    axes.set_xlim(0.7, last + (0.3 if last == 1 else 0))


def label_ends(axes: Axes, lines: list[Line], gap: float = LABEL_GAP) -> None:
    """Write each line's label at its right end, moved apart where they would overlap."""
    heights = [_height(axes, _last_finite(line.values)) for line in lines]
    for height, line in zip(lowered(spread(heights, gap), gap), lines, strict=True):
        axes.annotate(
            line.label, (1, height), xycoords="axes fraction", xytext=(8, 0),
            textcoords="offset points", va="center", color=line.colour, fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip


def _height(axes: Axes, value: float | None) -> float:
    """Of `value` in the panel, from 0 to 1."""
    if value is None:
        return 0.5
    along = axes.yaxis.get_transform().transform  # logarithmic or not
    bottom, end, top = along([axes.get_ylim()[0], value, axes.get_ylim()[1]])
    return float((end - bottom) / (top - bottom))


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """`heights` moved up as little as leaves `gap` between any two, in the same order."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def lowered(heights: Sequence[float], gap: float) -> list[float]:
    """`heights` moved down as little as leaves none above the panel, `gap` kept."""
    moved = list(heights)
    if max(moved, default=0) <= 1:
        return moved
    ceiling = 1.0
    for index in sorted(range(len(heights)), key=heights.__getitem__, reverse=True):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def shortened(name: str) -> str:
    """`name`, without its middle if it is long."""
    return name if len(name) <= BEGIN + END else f"{name[:BEGIN]}…{name[-END:]}"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the version of Matplotlib in it, equal pictures are equal files.
    metadata = {"Software": None, "Source": SOURCE}
    figure.savefig(buffer, format="png", facecolor="white", metadata=metadata)
    return buffer.getvalue()


def is_ours(picture: bytes) -> bool:
    """Whether a file is a picture of this package's."""
    return picture.startswith(b"\x89PNG") and f"Source\0{SOURCE}".encode() in picture[:1024]


def title_of(record: RunRecord) -> str:
    """What was run, in a line."""
    configuration = record.configuration
    optimizer: Any = configuration.get("optimizer", {})
    parts = [
        str(configuration.get("workload", "")),
        str(optimizer.get("name", "")).rpartition(".")[2],
        f"lr {optimizer['lr']:g}" if isinstance(optimizer.get("lr"), float) else "",
        f"batch size {configuration['batch_size']}" if "batch_size" in configuration else "",
        f"seed {configuration['seed']}" if "seed" in configuration else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def _last_finite(values: Sequence[float]) -> float | None:
    return next((value for value in reversed(values) if math.isfinite(value)), None)
