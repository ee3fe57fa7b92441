"""The frame of a page: one HTML file that opens offline, and that can hold charts and tables.

Nothing in it is of a particular study. Whatever comes from a record is escaped here: values by
:func:`text`, charts by :func:`as_script`, words inside a chart by :func:`label`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any

from adamantine.records import Finding, finite
from adamantine.report import formatting
from adamantine.report.marks import mark

WRAP = 20
"""Letters in a line of a name beside a chart: two thirds of a phone are left to the chart."""


@dataclass(frozen=True)
class Chart:
    """One Plotly figure, as plain dictionaries of Plotly's schema.

    What the page's controls do to it is told by ``meta``, which Plotly leaves alone. A trace's
    may have ``contestant``, the index of the checkbox that shows it; ``x``, its values by unit of
    time, and ``y`` where they depend on it, too (``{unit}`` in its hover text is replaced by the
    unit); and ``label`` and ``glyph``, to be written at its right end. The layout's has the unit
    of the x axis changed if ``units`` is true, and the y axis made logarithmic on demand if ``log``
    is.

    Parameters
    ----------
    name
        Its id in the page.
    title
        Its heading.
    caption
        What it shows, for those who see it and for those who do not.
    data, layout
        The figure.
    """

    name: str
    title: str
    caption: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of plain text under a heading each; the first column names its row."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = field(default=frozenset())
    """Columns that hold words, not numbers: they may break into lines."""


def text(value: object) -> str:
    """`value` as HTML shows it, in attributes too."""
    return html.escape(str(value), quote=True)


def label(value: str) -> str:
    """`value` for a chart, which reads a little HTML: escaped, and broken into short lines."""
    lines = re.findall(rf".{{1,{WRAP}}}$|.{{1,{WRAP - 1}}}[:,\s]|.{{1,{WRAP}}}", value, re.DOTALL)
    return "<br>".join(html.escape(line.strip()) for line in lines)


def as_script(value: Any) -> str:
    """JSON that can stand in a ``<script>``: nothing in it ends the element."""
    return json.dumps(finite(value), allow_nan=False).replace("<", "\\u003c")


def section_html(name: str, heading: str, *parts: str) -> str:
    """A section with a heading of the second rank."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-heading">\n'
        f'<h2 id="{name}-heading">{text(heading)}</h2>\n' + "\n".join(parts) + "\n</section>"
    )


def decision_html(decision: Sequence[Finding], lines: Sequence[str]) -> str:
    """What to use, and the lines to paste; empty ones are left out."""
    code = [f"<pre><code>{text(line)}</code></pre>" for line in lines if line]
    parts = "\n".join([findings_html(decision), *code])
    return f'<section class="verdict" id="verdict">\n<h2>What to use</h2>\n{parts}\n</section>'


def findings_html(findings: Sequence[Finding]) -> str:
    """A verdict's sentences, a paragraph each."""
    return "\n".join(f'<p class="{found.about}">{text(found.sentence)}</p>' for found in findings)


def chart_html(chart: Chart) -> str:
    """Where the page draws a chart."""
    height = int(chart.layout["height"])
    return (
        f'<figure id="{chart.name}">\n<h3>{text(chart.title)}</h3>\n'
        f'<div class="chart" id="{chart.name}-chart" style="min-height: {height}px" role="img" '
        f'aria-label="{text(chart.title)}" aria-describedby="{chart.name}-caption"></div>\n'
        f'<figcaption id="{chart.name}-caption">{text(chart.caption)}</figcaption>\n</figure>'
    )


def table_html(table: Table) -> str:
    """A table that scrolls by itself where the page is too narrow for it."""
    kinds = [' class="words"' if index in table.words else "" for index in range(len(table.heads))]
    heads = "".join(
        f'<th scope="col"{kind}>{text(head)}</th>'
        for head, kind in zip(table.heads, kinds, strict=True)
    )
    rows = "\n".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(
            f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(table.caption)}">'
        f"<table>\n<caption><span>{text(table.caption)}</span></caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def folded_html(summary: str, *parts: str) -> str:
    """What only some will want to read; it is not printed unless it is open."""
    return f"<details><summary>{text(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


def terms_html(terms: Mapping[str, str]) -> str:
    """Terms and what is said of each; those without a word are left out."""
    pairs = (
        f"<div><dt>{text(term)}</dt><dd>{text(said)}</dd></div>"
        for term, said in terms.items()
        if said
    )
    return "<dl>\n" + "\n".join(pairs) + "\n</dl>"


def header_html(title: str, subtitle: str) -> str:
    """What a page is about, and how large it was."""
    return f'<header>\n<h1>{text(title)}</h1>\n<p class="subtitle">{text(subtitle)}</p>\n</header>'


def named_terms_html(named: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Terms under headings, as records hold them; what says nothing is left out."""
    parts = []
    for heading, terms in named.items():
        said = {
            key.replace("_", " "): formatting.plain(value)
            for key, value in terms.items()
            if value not in (None, "", [], {})
        }
        if said:
            parts.append(f"<h3>{heading}</h3>\n{terms_html(said)}")
    return parts


def controls_html(names: Sequence[str], units: Sequence[str], has_log: bool) -> str:
    """Checkboxes that show the contestants, and the switches of the axes."""
    boxes = "\n".join(_checkbox(index, name) for index, name in enumerate(names))
    radios = "\n".join(
        f'<label><input type="radio" name="unit" value="{unit}"{" checked" if first else ""}>'
        f"{text(unit)}</label>"
        for first, unit in ((index == 0, unit) for index, unit in enumerate(units))
    )
    time = f'<fieldset class="units"><legend>Time in</legend>\n{radios}\n</fieldset>'
    log = (
        '<fieldset><legend>Axes</legend><label><input type="checkbox" id="log">'
        "logarithmic</label></fieldset>"
    )
    return (
        '<form class="controls" aria-label="What the charts show" autocomplete="off">\n'
        f'<fieldset class="contestants"><legend>Show</legend>\n{boxes}\n</fieldset>\n'
        f"{time if radios else ''}\n{log if has_log else ''}\n</form>"
    )


def _checkbox(index: int, name: str) -> str:
    its = mark(index)
    swatch = (
        '<svg class="swatch" width="30" height="14" viewBox="0 0 30 14" aria-hidden="true">'
        f'<line x1="1" y1="7" x2="29" y2="7" stroke="{its.colour}" stroke-width="2.5" '
        f'stroke-dasharray="{its.stroke}"/>'
        f'<text x="15" y="11.5" text-anchor="middle" fill="{its.colour}">{its.glyph}</text></svg>'
    )
    return (
        f'<label><input type="checkbox" checked data-contestant="{index}">{swatch}'
        f"<span>{text(name)}</span></label>"
    )


def page_html(title: str, body: str, charts: Iterable[Chart]) -> str:
    """The whole page; `body` is HTML that has a place for each of the `charts`."""
    from plotly.offline import get_plotlyjs

    figures = [
        {"name": chart.name, "data": list(chart.data), "layout": chart.layout} for chart in charts
    ]
    return Template(_file("frame.html")).substitute(
        title=text(title),
        style=_file("page.css"),
        body=body,
        charts=as_script(figures),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        script=_file("page.js"),
    )


def _file(name: str) -> str:
    return (resources.files("adamantine.report") / "page" / name).read_text(encoding="utf-8")
