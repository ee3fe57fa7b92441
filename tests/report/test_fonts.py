"""Names in any script, in pictures."""

import logging

import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from adamantine.records import EpochRecord, RunRecord
from adamantine.report import curves_png
from adamantine.report.fonts import FONT, families_with


def picture(name):
    epoch = EpochRecord(1, 1.0, 1.0, 0.5, 1.0, 1.0, 0.1)
    return curves_png(RunRecord({"workload": name}, {}, {}, epochs=(epoch,)))


def letters(font):
    return set(FT2Font(font_manager.findfont(font)).get_charmap())


@pytest.fixture(scope="module")
def lacking():
    """Letters that the font of pictures has not, and another one of Matplotlib's has."""
    return "".join(map(chr, sorted(letters("STIXGeneral") - letters(FONT))[:40:10]))


def test_no_script_makes_a_line_of_noise(capfd, caplog):
    """Warnings are errors here; boxes stand for what no font has."""
    with caplog.at_level(logging.WARNING):
        assert picture("наука 学习 हिन्दी عربى \U0001f600 \0\t").startswith(b"\x89PNG")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_another_font_has_what_the_first_one_has_not(lacking, monkeypatch):
    assert families_with("abc наука") == ()
    assert "STIXGeneral" in families_with(lacking)
    with_font = picture(lacking)
    families_with.cache_clear()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    boxes = picture(lacking)
    families_with.cache_clear()
    assert with_font != boxes


def test_pictures_of_plain_names_do_not_depend_on_the_machine(monkeypatch):
    before = picture("digits")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    assert picture("digits") == before
