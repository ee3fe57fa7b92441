"""Pictures of runs, from their records alone."""

from adamantine.report.curves import comparison_png, curves_png, format_metric
from adamantine.report.stats import stats_png

__all__ = ["comparison_png", "curves_png", "format_metric", "stats_png"]
