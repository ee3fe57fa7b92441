from dataclasses import replace

import pytest
from test_curves import count, pixels

from adamantine.records.lr_find import Held, LrFindRecord, Spread, Sweep
from adamantine.report.lr_find import lr_find_png

BLUE, GREEN, VERMILION = "#0072B2", "#009E73", "#D55E00"
SWEPT = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RECORD = LrFindRecord(
    workload="mnist",
    optimizer="SGD",
    settings={"momentum": 0.9},
    batch_size=64,
    seed=0,
    seeds=2,
    steps=50,
    steps_taken=600,
    start_loss=2.3,
    sweep=Sweep(SWEPT, ((2.3, 2.2, 1.5, 1.0, float("nan")), (2.3, 2.3, 1.6, 1.2, 9.0)), SWEPT),
    held=(
        Held(1e-2, (1.2, 1.1), 0.5),
        Held(1e-1, (0.4, 0.5), 1.0),
        Held(1.0, (float("nan"), 3.0), 0.0),
    ),
    suggestion=Spread(0.08, 0.07, 0.09),
    low=Spread(0.06, 0.05, 0.07),
    high=Spread(0.12, 0.11, 0.13),
    diverges_at=1.0,
    reason="",
    versions={},
    machine={},
)


def test_shows_curves_range_suggestion_and_where_it_diverges():
    png = lr_find_png(RECORD)
    assert pixels(png) == (1900, 780)
    assert count(png, BLUE) > 500
    assert count(png, GREEN) > 1000
    assert count(png, VERMILION) > 300


def test_what_did_not_diverge_is_not_marked():
    assert count(lr_find_png(replace(RECORD, diverges_at=None)), VERMILION) == 0


def test_equal_records_give_equal_bytes():
    assert lr_find_png(replace(RECORD)) == lr_find_png(RECORD)


@pytest.mark.parametrize("loss", [1e38, float("nan")])
def test_explosions_leave_the_scale_alone(loss):
    exploded = (*RECORD.held[:2], Held(1.0, (loss, loss), 0.0))
    assert count(lr_find_png(replace(RECORD, held=exploded)), BLUE) > 500
