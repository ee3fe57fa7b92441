"""The report of a study from its record: a page, pictures for papers, rows for a terminal."""

from adamantine.report.study.page import study_html
from adamantine.report.study.pictures import STUDY_PICTURES, study_pngs
from adamantine.report.study.tables import study_rows

__all__ = ["STUDY_PICTURES", "study_html", "study_pngs", "study_rows"]
