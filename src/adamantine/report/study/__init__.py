"""The report of a comparison, from its record.

- ``data``: what its charts show; ``captions``: in words
- ``costs``: time and state, beside quality
- ``charts``, ``tables``, ``page``: the page
- ``pictures``: the same for papers
"""

from adamantine.report.study.page import study_html
from adamantine.report.study.pictures import STUDY_PICTURES, study_pngs
from adamantine.report.study.tables import study_rows

__all__ = ["STUDY_PICTURES", "study_html", "study_pngs", "study_rows"]
