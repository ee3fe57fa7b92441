"""Optimizers' paths as a page on which they are drawn step by step; it needs nothing else.

All geometry is in the page as SVG, so that it also shows without JavaScript and in print;
``paths.js`` only shortens the lines to the step that is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from adamantine.records.trace import PathRecord, TraceRecord
from adamantine.report.panels import COLOURS
from adamantine.report.paths import (
    check_not_empty,
    dashes_of,
    drawn_points,
    ending,
    height_range,
    heights,
    subtitle,
)

WIDE, HIGH = 480, 360
"""Of a map, in the page's own units."""
CURVE_WIDE, CURVE_HIGH, MARGIN = 400, 250, 44
FRAMES = 1000
"""At most: of more steps, some are left out, and the animation goes on from one to the next."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""A browser that is told so refuses whatever would be loaded."""

Pixel = tuple[float, float]


def paths_page(traces: Sequence[TraceRecord]) -> str:
    """HTML that shows each surface with the paths, their values, and how each path ends.

    Raises
    ------
    UsageError
        There is nothing to draw.
    """
    check_not_empty(traces)
    names = list(dict.fromkeys(path.name for path in traces[0].paths))
    where = f" on {_lower_first(traces[0].title)}" if len(traces) == 1 else ""
    title = f"Paths of {', '.join(names)}{where}"
    source = files("adamantine.report")
    css, js = (source.joinpath(f"paths.{kind}").read_text("utf-8") for kind in ("css", "js"))
    sections = "\n".join(_section(trace) for trace in traces)
    steps = traces[0].steps
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body data-stride="{_stride(steps)}">
<main>
<h1>{escape(title)}</h1>
<p class="faint">{escape(subtitle(traces))}</p>
<div class="panel">
<div class="controls" id="controls" hidden>
<button type="button" id="play">Play</button>
<input type="range" id="step" min="0" max="{steps}" value="{steps}" aria-label="Step">
<output id="told" for="step">step {steps} of {steps}</output>
<label>Speed <select id="speed"><option value="0.25">¼</option><option value="0.5">½</option>
<option value="1" selected>1</option><option value="2">2</option><option value="4">4</option>
</select></label>
</div>
<fieldset class="contestants" aria-label="Shown">
{"".join(_toggle(index, path) for index, path in enumerate(traces[0].paths))}
</fieldset>
</div>
{sections}
</main>
<script>
{js}</script>
</body>
</html>
"""


def _lower_first(title: str) -> str:
    """`title` within a sentence; names of people keep their capital."""
    return title[0].lower() + title[1:] if title.startswith("A ") else title


def _stride(steps: int) -> int:
    return math.ceil(steps / FRAMES)


def _toggle(index: int, path: PathRecord) -> str:
    return (
        f'<label class="contestant" style="--colour:{_colour(index)}">'
        f'<input type="checkbox" checked data-toggles="{index}">'
        f"{_swatch(index)}{escape(path.name)}</label>\n"
    )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _swatch(index: int) -> str:
    return f'<span class="swatch {dashes_of(index)}"></span>'


def _section(trace: TraceRecord) -> str:
    return f"""<section id="{escape(trace.surface)}">
<h2>{escape(trace.title)}</h2>
<p>{escape(trace.formula)} <span class="faint source">({escape(trace.source)})</span></p>
<div class="pair">
<figure>{_map(trace)}</figure>
<figure><figcaption>Value above {"the minimum" if trace.minimum else "the lowest in view"}\
</figcaption>{_curves(trace)}{_table(trace)}</figure>
</div>
</section>"""


def _map(trace: TraceRecord) -> str:
    left, right, bottom, top = trace.view

    def place(points: Iterable[Sequence[float]]) -> list[Pixel]:
        return [
            (WIDE * (x - left) / (right - left), HIGH * (top - y) / (top - bottom))
            for x, y in points
        ]

    ((x, y),) = place([trace.start])
    marks = f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>start</title></circle>'
    if trace.minimum is not None:
        ((x, y),) = place([trace.minimum])
        marks += f'<path class="mark" d="{_star(x, y)}"><title>minimum</title></path>'
    lines = "".join(
        _line("path", index, place(drawn_points(path, trace)), trace.steps)
        for index, path in enumerate(trace.paths)
    )
    label = f"Contours of {trace.title} with the paths of the optimizers"
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(label)}">'
        f"{_bands(trace)}{lines}{marks}</svg>"
    )


def _bands(trace: TraceRecord) -> str:
    """The ground between each two levels, whose height decides its colour."""
    import numpy as np
    from matplotlib.figure import Figure

    rows, columns = len(trace.landscape), len(trace.landscape[0])
    drawn = Figure().add_subplot().contourf(trace.landscape, list(trace.levels), extend="both")
    regions = drawn.get_paths()
    bands = []
    for index, region in enumerate(regions):
        outlines = ""
        for polygon in region.to_polygons():
            across, up = np.asarray(polygon, dtype=float)[:-1].T
            x, y = WIDE * across / (columns - 1), HIGH * (1 - up / (rows - 1))
            corners = (f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
            outlines += f"M{'L'.join(corners)}Z"
        height = 100 * index / max(len(regions) - 1, 1)
        if outlines:
            bands.append(f'<path class="band" style="--height:{height:.0f}%" d="{outlines}"/>')
    return "".join(bands)


def _star(x: float, y: float) -> str:
    corners = [
        (radius * math.sin(corner * math.pi / 5), -radius * math.cos(corner * math.pi / 5))
        for corner, radius in enumerate((9.0, 3.8) * 5)
    ]
    return "M" + "L".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners) + "Z"


def _curves(trace: TraceRecord) -> str:
    low, high = map(math.log10, height_range(trace))
    width, depth = CURVE_WIDE - MARGIN - 8, CURVE_HIGH - 34

    def across(step: float) -> float:
        return MARGIN + width * step / trace.steps

    def down(exponent: float) -> float:
        return 6 + depth * (high - exponent) / (high - low)

    exponents = range(math.ceil(low), math.floor(high) + 1)
    every = max(1, math.ceil(len(exponents) / 6))
    ticks = "".join(
        f'<line class="grid" x1="{MARGIN}" x2="{MARGIN + width}" y1="{down(power):.1f}"'
        f' y2="{down(power):.1f}"/><text x="{MARGIN - 6}" y="{down(power) + 4:.1f}"'
        f' text-anchor="end">{_power(power)}</text>'
        for power in exponents
        if power % every == 0
    )
    ticks += "".join(
        f'<text x="{across(step):.1f}" y="{CURVE_HIGH - 8}" text-anchor="{anchor}">{text}</text>'
        for step, anchor, text in (
            (0, "middle", "0"),
            (trace.steps / 2, "middle", "step"),
            (trace.steps, "end", f"{trace.steps:,}"),
        )
    )
    lines = "".join(
        _line(
            "curve",
            index,
            # What cannot be shown, for it lies below the lowest value, is below the panel.
            [
                (across(step), down(math.log10(height) if height == height else 2 * low - high))
                for step, height in enumerate(heights(path, trace))
            ],
            trace.steps,
        )
        for index, path in enumerate(trace.paths)
    )
    label = f"Value against steps on {trace.title}"
    inside = f'<svg x="{MARGIN}" width="{width + 8}" height="{depth + 6}"'
    return (
        f'<svg viewBox="0 0 {CURVE_WIDE} {CURVE_HIGH}" role="img" aria-label="{escape(label)}">'
        f'{ticks}{inside} viewBox="{MARGIN} 0 {width + 8} {depth + 6}">{lines}</svg></svg>'
    )


def _power(exponent: int) -> str:
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return f'10<tspan dy="-5" font-size="10">{exponent}</tspan>'


def _line(kind: str, index: int, points: Sequence[Pixel], steps: int) -> str:
    """A contestant's line and the dot at its head."""
    chosen = [*points[: -1 : _stride(steps)], points[-1]]
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in chosen)
    x, y = chosen[-1]
    return (
        f'<g class="contestant" data-contestant="{index}" style="--colour:{_colour(index)}">'
        f'<polyline class="{kind} {dashes_of(index)}" points="{text}"/>'
        f'<circle class="head" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
    )


def _table(trace: TraceRecord) -> str:
    rows = "".join(_row(index, path, trace.steps) for index, path in enumerate(trace.paths))
    return (
        '<div class="table"><table><tr><th>contestant</th><th>lr</th>'
        f"<th>value</th><th>how it ends</th></tr>{rows}</table></div>"
    )


def _row(index: int, path: PathRecord, steps: int) -> str:
    chosen = [*path.values[: -1 : _stride(steps)], path.values[-1]]
    values = " ".join(f"{value:.3g}" for value in chosen)
    return (
        f'<tr class="contestant" data-contestant="{index}" style="--colour:{_colour(index)}">'
        f"<td>{_swatch(index)} {escape(path.name)}</td><td>{path.lr:g}</td>"
        f'<td class="value" data-values="{values}">{path.values[-1]:.3g}</td>'
        f"<td>{escape(ending(path))}</td></tr>"
    )
