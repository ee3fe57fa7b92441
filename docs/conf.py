"""Sphinx builds the website from this folder: ``make site``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

from adamantine import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "Adamantine"
author = "The Adamantine developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_formulas",
]
exclude_patterns = ["__pycache__"]
default_role = "code"  # single backticks in docstrings are code, as in Markdown

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"Adamantine {__version__}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # the docstrings say it, and signatures have the defaults
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Good for", "Not for", "State"]

GITHUB_FORMULA = re.compile(r"\$`([^`]+)`\$")
IN_DOCS = re.compile(r"\]\(docs/")


def as_myst(_app: Sphinx, name: str, source: list[str]) -> None:
    """GitHub writes a formula as $`x`$, to keep Markdown out of it; MyST, as $x$."""
    if not name.startswith("api/"):
        source[0] = GITHUB_FORMULA.sub(r"$\1$", source[0])


def from_the_root(_app: Sphinx, _path: str, _name: str, source: list[str]) -> None:
    """Links of files that lie above this folder are relative to the root."""
    source[0] = IN_DOCS.sub("](", source[0])


def setup(app: Sphinx) -> None:
    """Register what adapts the pages."""
    app.connect("source-read", as_myst)
    app.connect("include-read", from_the_root)
