"""The page of a search for settings, from its record alone."""

from adamantine.report.tune.page import tune_html

__all__ = ["tune_html"]
