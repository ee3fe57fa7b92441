"""Formulas as MathML, made when the site is built: browsers need neither scripts nor a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under a name of its own."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _displayed(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, display: str) -> str:
    # `aligned` it does not know; `align*` is the same to a formula that stands alone.
    latex = node.astext().replace("{aligned}", "{align*}")
    if "&" in latex and "align*" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    mathml: str = convert(latex, display=display)
    # What it does not know it copies.
    if "\\" in mathml or "<mi>&</mi>" in mathml:
        log.warning("no MathML for the formula %s", latex, location=node)
    return mathml
