"""The report of a search for settings, from its record.

- ``data``: what its charts show
- ``charts``, ``tables``, ``page``: the page
- ``pictures``: the same for papers
"""

from adamantine.report.tune.page import tune_html
from adamantine.report.tune.pictures import TUNE_PICTURES, tune_pngs

__all__ = ["TUNE_PICTURES", "tune_html", "tune_pngs"]
