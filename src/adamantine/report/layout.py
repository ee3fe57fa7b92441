"""Axes and layouts that charts of a page share, as Plotly's JSON.

Lines and letters get their colours from the page's style sheet: it alone knows whether it is dark.
"""

from __future__ import annotations

from typing import Any

CLEAR = "rgba(0,0,0,0)"


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis in the page's style, with a title or without; `more` are Plotly's own words."""
    return {
        **({"title": {"text": title, "font": {"size": 13}, "standoff": 10}} if title else {}),
        "zeroline": False, "automargin": True, "gridcolor": "#eaecee", "linecolor": "#d9dde1",
        "nticks": 7, **more,
    }  # fmt: skip


def rows(**more: Any) -> dict[str, Any]:
    """An axis with a name in each row, the first one on top."""
    return axis(
        type="category", autorange="reversed", showgrid=False, ticklabelstandoff=8, dtick=1, **more
    )


def layout(height: int, **more: Any) -> dict[str, Any]:
    """A figure so many pixels high, as wide as the page allows, on no ground of its own."""
    return {
        "height": height,
        "margin": {"l": 52, "r": 20, "t": 12, "b": 44},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"size": 13},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        **more,
    }
