"""The page and the pictures of a search for settings, from its record alone."""

from adamantine.report.tune.page import tune_html
from adamantine.report.tune.pictures import TUNE_PICTURES, tune_pngs

__all__ = ["TUNE_PICTURES", "tune_html", "tune_pngs"]
