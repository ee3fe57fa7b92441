"""Pictures of runs, and the page, pictures and rows of a study, from their records alone."""

from adamantine.report.curves import comparison_png, curves_png, format_metric
from adamantine.report.panels import is_ours
from adamantine.report.stats import stats_png
from adamantine.report.study import STUDY_PICTURES, study_html, study_pngs, study_rows
from adamantine.report.tune import TUNE_PICTURES, tune_html, tune_pngs

__all__ = [
    "STUDY_PICTURES",
    "TUNE_PICTURES",
    "comparison_png",
    "curves_png",
    "format_metric",
    "is_ours",
    "stats_png",
    "study_html",
    "study_pngs",
    "study_rows",
    "tune_html",
    "tune_pngs",
]
