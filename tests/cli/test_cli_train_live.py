"""Curves in the terminal, and a run's page."""

import json
import math

from adamantine.cli.train.live import HEIGHT, curves
from adamantine.records import EpochRecord

RUN = "train", "--workload", "digits", "--epochs", 2


def record(epoch, loss, metric):
    return EpochRecord(epoch, loss, loss, metric, 1.0, 0.1, 0.001)


def test_curves_are_as_wide_as_they_may_be_and_have_no_colours():
    drawn = curves([record(n, 2 / n, 1 - 1 / n) for n in range(1, 8)], 80)
    lines = drawn.splitlines()
    assert len(lines) == HEIGHT
    assert max(map(len, lines)) == 80
    assert "Average loss" in lines[0]
    assert "Test accuracy" in lines[0]
    assert "\x1b" not in drawn
    assert any(0x2800 < ord(character) < 0x2900 for character in drawn)


def test_numbers_that_are_not_finite_are_left_out():
    assert curves([record(1, math.inf, math.nan)], 60)
    assert curves([record(1, 1.0, 0.5), record(2, math.nan, math.nan)], 60)


def test_live_leaves_the_last_curves_on_standard_error(adamantine):
    plain, live = adamantine(*RUN), adamantine(*RUN, "--live")
    assert live.code == 0, live.err
    assert live.out == plain.out
    assert "Average loss" in live.err
    assert "Average loss" not in plain.err


def test_a_run_has_a_page_that_is_kept_up_to_date(adamantine, tmp_path):
    out = tmp_path / "run"
    adamantine(*RUN, "--out", out)
    assert not (out / "report.html").exists()
    result = adamantine("report", out)
    assert result.code == 0, result.err
    assert "Test Accuracy" in result.out
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in ("loss-chart", "metric-chart", "How it was trained"):
        assert part in page
    assert "rate-chart" not in page  # it never changed
    adamantine("train", "--epochs", 3, "--resume", "--out", out)
    assert "after 3 epochs" in (out / "report.html").read_text(encoding="utf-8")
    assert len(json.loads(adamantine("report", out, "--json").out)["epochs"]) == 3
    adamantine(*RUN, "--schedule", "cosine", "--overwrite", "--out", out)
    assert "rate-chart" in (out / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_anything_is_an_error(adamantine, tmp_path):
    result = adamantine("report", tmp_path)
    assert result.code == 1
    assert "holds no study.json" in result.err
