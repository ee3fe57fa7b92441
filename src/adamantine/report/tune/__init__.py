"""The page and the pictures of a search for settings, from its record alone."""

from adamantine.report.tune.page import tune_html
from adamantine.report.tune.pictures import tune_pngs

__all__ = ["tune_html", "tune_pngs"]
