"""The picture in docs/precision_grids.md: how fine each grid is, and how far down it reaches."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from benchmarks.grids import Floats, dynamic, floats, power_law

GRIDS = {
    "E5M3": (floats(5, 3), "C0", 2.5),
    "E4M4": (floats(4, 4), "C1", 1.2),
    "linear": (power_law(1), "C2", 1.2),
    "power law 4": (power_law(4), "C3", 1.2),
    "dynamic": (dynamic(8, signed=False), "C4", 1.2),
    "E4M0, 4 bits": (floats(4, 0), "0.5", 1.2),
}


def png() -> bytes:
    """How far apart neighbours are, as a share of the smaller one, from a block's largest down."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, (levels, colour, width) in GRIDS.items():
        axes.plot(*_steps(levels), drawstyle="steps-post", label=name, color=colour, lw=width)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(1e-10, 1.2),
        ylim=(2e-3, 3),
        xlabel="second moment, as a share of the block's largest",
        ylabel="step / value",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _steps(levels: Floats) -> tuple[Floats, Floats]:
    positive = levels[levels > 0]
    return positive[:-1] / positive[-1], np.diff(positive) / positive[:-1]
