"""Pictures of runs, and the page, pictures and rows of a study, from their records alone.

- ``formatting``, ``fonts``: numbers and letters
- ``marks``, ``panels``: what all pictures share; ``frame``, ``layout``: what all pages do
- ``curves``: pictures of runs; ``run``: the page of one, and what its steps measured
- ``lr_find``: of a search for a learning rate
- ``paths``, ``paths_page``: of optimizers on a surface
- ``study``: a comparison's page, pictures and tables; ``tune``: a search's
- ``page``: the HTML, style and script of all pages
"""

from adamantine.report.curves import comparison_png, curves_png, format_metric
from adamantine.report.panels import is_ours
from adamantine.report.run.page import run_html
from adamantine.report.run.stats import stats_png
from adamantine.report.study import STUDY_PICTURES, study_html, study_pngs, study_rows
from adamantine.report.tune import TUNE_PICTURES, tune_html, tune_pngs

__all__ = [
    "STUDY_PICTURES",
    "TUNE_PICTURES",
    "comparison_png",
    "curves_png",
    "format_metric",
    "is_ours",
    "run_html",
    "stats_png",
    "study_html",
    "study_pngs",
    "study_rows",
    "tune_html",
    "tune_pngs",
]
