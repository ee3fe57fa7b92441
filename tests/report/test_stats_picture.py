import math

import pytest
from test_curves import count, pixels

from adamantine.errors import UsageError
from adamantine.records import MEASURED, EpochRecord, ParameterRecord, RunRecord
from adamantine.report import stats_png
from adamantine.report.panels import BLUE, SKY, VERMILION
from adamantine.report.run.stats import LINES

SIZE = (1900, 1520)


def parameter(elements=10, **values):
    fields = dict.fromkeys(MEASURED, 1.0) | values
    return ParameterRecord(elements=elements, learning_rates=(1.0,) * 5, **fields)


def run(*epochs):
    records = [
        EpochRecord(number, 1.0, 1.0, 0.5, 1.0, 1.0, 1e-3, parameters=parameters)
        for number, parameters in enumerate(epochs, 1)
    ]
    return RunRecord({}, {}, {}, epochs=tuple(records))


def test_each_parameter_has_a_line_and_equal_records_give_equal_bytes():
    parameters = {"0.weight": parameter(update_ratio=1e-3), "0.bias": parameter(update_ratio=0.1)}
    png = stats_png(run(parameters, parameters, parameters))
    assert pixels(png) == SIZE
    assert count(png, BLUE) > 1000
    assert count(png, VERMILION) > 1000
    assert count(png, SKY) == 0
    assert stats_png(run(parameters, parameters, parameters)) == png
    assert stats_png(run(parameters, parameters)) != png


def test_of_many_the_largest_are_drawn():
    small = {f"small.{n}": parameter(1) for n in range(7)}
    large = {f"a.layer.with.quite.a.long.name.{n}": parameter(2 + n) for n in range(LINES)}
    assert stats_png(run(small | large)) == stats_png(
        run(dict.fromkeys(small, parameter(1)) | large)
    )
    others = {f"another.{n}": p for n, p in enumerate(small.values())}
    assert stats_png(run(others | large)) == stats_png(run(small | large))
    assert stats_png(run(large)) != stats_png(run(small | large))  # its title does not say so


@pytest.mark.parametrize(
    "value",
    [math.nan, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.0, math.inf, 1e-300, 1e300))],
)
def test_whatever_the_numbers_there_is_a_picture(value):
    odd = {"w": parameter(update_ratio=value, grad_norm=value)}
    fine = {"w": parameter(), "later": parameter()}
    for epochs in ([odd], [odd, fine], [fine, odd], [None, fine]):
        assert pixels(stats_png(run(*epochs))) == SIZE


def test_nothing_measured():
    for epochs in ([], [None], [{}]):
        with pytest.raises(UsageError, match="--stats"):
            stats_png(run(*epochs))
