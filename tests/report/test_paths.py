import math
from dataclasses import replace

import pytest
from test_curves import count, pixels

import adamantine
from adamantine.errors import UsageError
from adamantine.report.panels import BLUE, COLOURS, GREEN, VERMILION
from adamantine.report.paths import (
    LOWEST,
    dashes_of,
    drawn_points,
    ending,
    height_range,
    heights,
    paths_png,
    rate_label,
    subtitle,
    visible_end,
)
from tracing import Entrant, adam, sgd, traced


@pytest.fixture(scope="module")
def trace():
    return traced("ravine", adam(lr=0.3), sgd(lr=0.03), steps=40)


def test_one_surface_has_its_map_beside_the_values(trace):
    png = paths_png([trace])
    assert pixels(png) == (2100, 940)
    assert count(png, BLUE) > 1000
    assert count(png, VERMILION) > 1000
    assert count(png, GREEN) == 0
    assert paths_png([trace]) == png


def test_of_several_each_has_a_cell(trace):
    saddle = traced("saddle", adam(lr=0.1), sgd(lr=0.1), steps=40)
    assert pixels(paths_png([trace, saddle])) == (2100, 1180)
    assert pixels(paths_png([trace, saddle, trace])) == (2100, 2360)


def test_whatever_the_numbers_there_is_a_picture(trace):
    far = sgd(lr=30.0)
    assert pixels(paths_png([traced("ravine", far, steps=1)])) == (2100, 940)
    (path,) = traced("rosenbrock", far, steps=200).paths
    only = replace(path, points=(path.points[0], (math.nan,) * 2), values=(24.2, math.nan))
    paths_png([replace(trace, paths=(only,))])
    for value in (math.nan, math.inf, 1e300, -1e300):
        odd = replace(path, points=(*path.points, (value, 0.0)), values=(*path.values, value))
        paths_png([replace(trace, paths=(odd,))])


def test_a_third_of_the_same_colour_has_no_dashes_again():
    many = [Entrant(f"sgd{n}", adamantine.SGD, {"lr": 0.001 * n}) for n in range(1, 9)]
    assert pixels(paths_png([traced("beale", *many, steps=3)])) == (2100, 940)
    kinds = [dashes_of(index) for index in (0, len(COLOURS) - 1, len(COLOURS), 2 * len(COLOURS))]
    assert kinds == ["solid", "solid", "dashed", "solid"]


def test_points_far_outside_keep_their_direction(trace):
    left, right, bottom, top = trace.view
    middle = (left + right) / 2, (bottom + top) / 2
    points = ((0.5, 0.25), (middle[0] + 1e9, middle[1] + 1e6), middle, (math.inf, 0.0))
    path = replace(trace.paths[0], points=points)
    near, far, center = drawn_points(path, trace)
    assert near == pytest.approx(points[0])
    assert center == pytest.approx(middle)
    assert (far[1] - middle[1]) / (far[0] - middle[0]) == pytest.approx(1e-3)
    assert far[0] - middle[0] == pytest.approx(20 * (right - left))


def test_a_label_stands_where_the_path_leaves_the_view():
    view = (-1.0, 1.0, -2.0, 2.0)
    assert visible_end([(0.0, 0.0), (0.5, 1.5)], view) == (0.5, 1.5)
    assert visible_end([(0.0, 0.0), (4.0, 1.0)], view) == (1.0, 0.25)
    assert visible_end([(0.5, 0.0), (0.0, -8.0)], view) == (0.375, -2.0)
    assert visible_end([(0.0, 0.0), (-10.0, 5.0)], view) == (-1.0, 0.5)
    assert visible_end([(1.0, 0.0), (2.0, 0.0)], view) == (1.0, 0.0)
    assert visible_end([(0.5, 0.5)], view) == (0.5, 0.5)


def test_heights_above_the_least_value(trace):
    path = replace(trace.paths[0], values=(2.0, 0.0, math.inf, math.nan, -1.0))
    shown = heights(path, trace)
    assert shown[:2] == [2.0, LOWEST]
    assert all(map(math.isnan, shown[2:]))
    assert height_range(replace(trace, paths=(path,))) == (LOWEST / 2, 4.0)
    wild = replace(path, values=(2.0, 1e200))
    assert height_range(replace(trace, paths=(wild,))) == (1.0, 4000.0)


def test_words(trace):
    path = trace.paths[0]
    said = [
        ending(replace(path, left_view=left, steps_to_target=reached))
        for left, reached in ((7, 3), (None, 12), (None, None))
    ]
    assert said == ["leaves view at step 7", "within 0.01 after 12", "not within 0.01"]
    assert rate_label(path) == "adam  lr 0.3"
    assert rate_label(replace(path, name="adam:lr=0.3")) == "adam:lr=0.3"
    assert subtitle([trace]) == "40 steps  ·  learning rates as given"
    found = replace(path, lr_given=False)
    assert subtitle([replace(trace, steps=1, paths=(found,))]) == (
        "1 step  ·  learning rates: the best of 14 from 1e-05 to 30"
    )
    assert subtitle([replace(trace, paths=(found, path))]).endswith("to 30, or given")


def test_nothing_to_draw(trace):
    for traces in ([], [replace(trace, paths=())]):
        with pytest.raises(UsageError, match="name at least one optimizer"):
            paths_png(traces)
