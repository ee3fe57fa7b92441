"""The pages of a training and of a search as a browser draws them."""

import pytest
from test_study_browser import BELOW, opened
from test_tune_page import record as search

from adamantine.records import EpochRecord, RunRecord
from adamantine.report import run_html, tune_html

EPOCHS = tuple(EpochRecord(n, 2 / n, 2.2 / n, 1 - 1 / n, 1.0, 0.1, 0.1 / n) for n in range(1, 9))
RUN = RunRecord({"workload": "digits", "seed": 0}, {}, {}, "finished", epochs=EPOCHS)
PAGES = {"run": run_html(RUN), "search": tune_html(search())}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_buttons_lie_over_nothing_and_nothing_is_complained_of(browser, tmp_path, name, width):
    file = tmp_path / "report.html"
    file.write_text(PAGES[name], encoding="utf-8")
    page = opened(browser, file.as_uri(), viewport={"width": width, "height": 900})
    assert page.locator(".chart .main-svg").count() >= 3
    assert page.evaluate(BELOW) == []
    assert page.said == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.close()
