import io
import math
import struct
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine.errors import UsageError
from adamantine.records import EpochRecord, RunRecord
from adamantine.report import comparison_png, curves_png, format_metric
from adamantine.report.panels import LABEL_GAP, lowered, spread


def run(accuracies, losses=None, metric="accuracy"):
    losses = losses or [1 / (n + 1) for n in range(len(accuracies))]
    epochs = tuple(
        EpochRecord(n, loss, 1.1 * loss, accuracy, 1.0, 0.1, 1e-3, metric)
        for n, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    )
    configuration = {
        "workload": "mnist",
        "optimizer": {"name": "adamantine.Adam", "lr": 1e-3},
        "batch_size": 64,
        "seed": 0,
    }
    return RunRecord(configuration, {}, {}, "finished", epochs=epochs)


def pixels(png):
    """Width and height, from the file's header."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def image(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


def count(png, colour):
    """How many pixels have exactly this colour."""
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((abs(image(png)[..., :3] - wanted) < 1 / 512).all(axis=2).sum())


def test_is_a_wide_picture_with_both_lines_in_it():
    png = curves_png(run([0.94, 0.96, 0.97]))
    assert pixels(png) == (1900, 780)
    assert count(png, "#0072B2") > 1000  # training
    assert count(png, "#D55E00") > 1000  # test


def test_equal_records_give_equal_bytes_and_others_do_not():
    png = curves_png(run([0.94, 0.96]))
    assert curves_png(run([0.94, 0.96])) == png
    assert curves_png(run([0.94, 0.97])) != png


@pytest.mark.parametrize(
    "record",
    [
        run([0.94]),
        run([1.0, 1.0, 1.0]),
        run([0.1] * 300),
        run([3.0, -2.0, 0.0], losses=[-1.0, 0.0, 5.0], metric="score"),
        run([math.nan, 0.5, math.nan], losses=[math.nan] * 3),
        run([math.inf, math.nan], losses=[math.inf, 1.0], metric="mae"),
    ],
    ids=["one epoch", "perfect", "long", "negative", "nan", "infinite"],
)
def test_whatever_the_numbers_there_is_a_picture(record):
    assert pixels(curves_png(record)) == (1900, 780)


def test_a_record_that_says_little_is_drawn_too():
    bare = RunRecord({}, {}, {}, epochs=run([0.5, 0.6]).epochs)
    assert pixels(curves_png(bare)) == (1900, 780)


def test_several_runs_have_a_colour_each():
    png = comparison_png({"Adam": run([0.9, 0.95]), "SGD": run([0.5, 0.7])}, "digits")
    assert count(png, "#0072B2") > 1000
    assert count(png, "#D55E00") > 1000
    many = {str(n): run([0.1 * n, 0.1 * n]) for n in range(8)}
    assert pixels(comparison_png(many, "many")) == (1900, 780)


def test_nothing_to_draw():
    with pytest.raises(UsageError, match="the run has no finished epoch"):
        curves_png(run([]))
    with pytest.raises(UsageError, match="there are no runs"):
        comparison_png({}, "")
    with pytest.raises(UsageError, match="SGD has no finished epoch"):
        comparison_png({"Adam": run([0.5]), "SGD": run([])}, "")


def test_runs_judged_by_different_metrics_are_not_compared():
    runs = {"a": run([0.5]), "b": run([0.5], metric="mae")}
    with pytest.raises(UsageError, match=r"different metrics \(accuracy, mae\)"):
        comparison_png(runs, "")


def test_the_users_own_style_is_not_touched():
    import matplotlib

    before = dict(matplotlib.rcParams)
    curves_png(run([0.5]))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.945, "94.50%"),
        ("accuracy", 1.0, "100.00%"),
        ("mae", 0.123456, "0.1235"),
        ("mae", math.nan, "not finite"),
        ("accuracy", math.inf, "not finite"),
    ],
)
def test_metrics_in_words(name, value, text):
    assert format_metric(name, value) == text


@given(st.lists(st.floats(0, 1), max_size=8))
def test_labels_keep_their_distance_and_their_order(heights):
    moved = spread(heights, LABEL_GAP)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [moved[index] for index in order]
    assert all(b - a >= LABEL_GAP - 1e-9 for a, b in pairwise(placed))
    assert all(after >= before for before, after in zip(heights, moved, strict=True))
    if len(heights) == 1:
        assert moved == heights


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_are_lowered_into_the_panel(heights):
    gap = 0.05
    spread_out = spread(heights, gap)
    moved = lowered(spread_out, gap)
    placed = sorted(moved)
    assert all(height <= 1 for height in moved)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(placed))
    assert all(after <= before for before, after in zip(spread_out, moved, strict=True))
    if max(spread_out, default=0) <= 1:
        assert moved == spread_out


def test_importing_the_report_loads_no_matplotlib():
    code = "import sys, adamantine.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
