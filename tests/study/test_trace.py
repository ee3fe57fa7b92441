import math
from pathlib import Path

import numpy as np
import pytest
import torch

from adamantine.errors import CheckpointError, UsageError
from adamantine.records.trace import TraceRecord
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.trace import RATES
from adamantine.workloads.surfaces import ANGLE, GENTLE, STEEP, SURFACES
from tracing import Entrant, adam, sgd, traced

RAVINE = SURFACES["ravine"]
AXES = np.array([[math.cos(ANGLE), -math.sin(ANGLE)], [math.sin(ANGLE), math.cos(ANGLE)]])
HESSIAN = AXES @ np.diag([GENTLE, STEEP]) @ AXES.T


def descent(lr, steps):
    """x_k = (I - lr A)^k x_0, all of them."""
    matrix = np.eye(2) - lr * HESSIAN
    return np.array([np.linalg.matrix_power(matrix, k) @ RAVINE.start for k in range(steps + 1)])


def test_gradient_descent_on_the_ravine_is_a_power_of_a_matrix():
    (path,) = traced("ravine", sgd(lr=0.03), steps=100).paths
    expected = descent(0.03, 100)
    np.testing.assert_allclose(path.points, expected, rtol=1e-11, atol=1e-13)
    values = np.einsum("ki,ij,kj->k", expected, HESSIAN, expected) / 2
    np.testing.assert_allclose(path.values, values, rtol=1e-10)
    assert path.distance == pytest.approx(np.linalg.norm(expected[-1]), rel=1e-10)
    assert path.steps_to_target == np.argmax(values <= 0.01) > 0
    assert path.left_view is None
    assert (path.lr, path.lr_given, path.settings) == (0.03, True, {"lr": 0.03})


def test_momentum_on_the_ravine_is_a_power_of_a_larger_matrix():
    """The state (x, b): b' = 0.9 b + A x, x' = x - lr b'."""
    lr, start = 0.01, np.array([*RAVINE.start, 0.0, 0.0])
    into_buffer = np.hstack([HESSIAN, 0.9 * np.eye(2)])
    matrix = np.vstack([np.eye(2, 4) - lr * into_buffer, into_buffer])
    expected = [(np.linalg.matrix_power(matrix, k) @ start)[:2] for k in range(41)]
    (path,) = traced("ravine", sgd(lr=lr, momentum=0.9), steps=40).paths
    np.testing.assert_allclose(path.points, expected, rtol=1e-10, atol=1e-12)


def test_adam_on_rosenbrock_by_hand():
    lr, beta1, beta2, eps = 0.1, 0.9, 0.999, 1e-8
    point, mean, square = list(SURFACES["rosenbrock"].start), [0.0, 0.0], [0.0, 0.0]
    expected = [tuple(point)]
    for t in range(1, 31):
        x, y = point
        for i, slope in enumerate((-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x))):
            mean[i] = beta1 * mean[i] + (1 - beta1) * slope
            square[i] = beta2 * square[i] + (1 - beta2) * slope * slope
            root = math.sqrt(square[i] / (1 - beta2**t)) + eps
            point[i] -= lr * mean[i] / (1 - beta1**t) / root
        expected.append(tuple(point))
    (path,) = traced("rosenbrock", adam(lr=lr), steps=30).paths
    np.testing.assert_allclose(path.points, expected, rtol=1e-10)


def test_the_learning_rate_that_ends_closest_is_found():
    (path,) = traced("ravine", sgd(), steps=15).paths
    ends = {lr: np.linalg.norm(descent(lr, 15)[-1]) for lr in RATES}
    best = min(ends, key=ends.get)
    assert RATES[0] < best < RATES[-1]
    assert (path.lr, path.lr_given) == (best, False)
    assert path.distance == pytest.approx(ends[best], rel=1e-10)


def test_rates_are_two_a_decade():
    assert len(RATES) == 14
    assert (RATES[0], RATES[-1]) == (1e-5, 30.0)
    assert list(RATES) == sorted(RATES)


def test_without_a_minimum_it_is_the_rate_that_gets_lowest_in_view():
    (path,) = traced("saddle", sgd(), steps=50).paths
    (x, y), (left, right, bottom, top) = SURFACES["saddle"].start, SURFACES["saddle"].view

    def lowest(lr):
        points = [((1 - 2 * lr) ** k * x, (1 + 0.4 * lr) ** k * y) for k in range(51)]
        return min(
            a * a - b * b / 5 for a, b in points if left <= a <= right and bottom <= b <= top
        )

    assert path.lr == min(RATES, key=lowest)
    assert path.distance is None


def test_a_path_ends_where_it_leaves_the_view_for_good():
    (path,) = traced("ravine", sgd(lr=0.05), steps=200).paths
    expected = descent(0.05, 200)
    left, right, bottom, top = RAVINE.view
    outside = [not (left <= x <= right and bottom <= y <= top) for x, y in expected]
    last_inside = max(k for k, out in enumerate(outside) if not out)
    assert path.left_view == last_inside + 1 == len(path.points) - 1
    np.testing.assert_allclose(path.final, expected[path.left_view], rtol=1e-10)
    assert math.isfinite(path.final_value)


def test_a_path_may_leave_the_view_and_come_back():
    (path,) = traced("rosenbrock", adam(lr=1.0), steps=30).paths
    bottom, top = SURFACES["rosenbrock"].view[2:]
    assert any(not bottom <= y <= top for _, y in path.points)
    assert path.left_view is None
    assert len(path.points) == 31


class _Exploding(torch.optim.SGD):
    """A step that is not finite, from the third one on."""

    def step(self, closure=None):
        self.count = getattr(self, "count", 0) + 1
        super().step(closure)
        if self.count >= 3:
            self.param_groups[0]["params"][0].data.fill_(math.nan)


def test_a_point_that_is_not_finite_ends_the_path():
    (path,) = traced("beale", Entrant("bad", _Exploding, {"lr": 1e-3}), steps=50).paths
    assert path.left_view == 3
    assert len(path.points) == 4
    assert all(map(math.isnan, path.final))
    assert math.isnan(path.distance)
    # Where every learning rate ends so, one of them is shown nevertheless.
    (path,) = traced("beale", Entrant("bad", _Exploding), steps=5).paths
    assert path.lr == RATES[0]


class _Noisy(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        point = self.param_groups[0]["params"][0]
        point.data.add_(torch.randn(2, dtype=torch.float64), alpha=0.01)


def test_equal_traces_are_equal_bits_whatever_was_drawn_before():
    entrants = Entrant("noisy", _Noisy, {"lr": 1e-3}), adam(lr=0.1, state_dtype="int8")
    first = traced("rosenbrock", *entrants)
    torch.rand(3)
    assert traced("rosenbrock", *entrants) == first
    assert first.paths[0].points != first.paths[1].points


def test_no_steps():
    with pytest.raises(UsageError, match="number of steps is 0, expected at least 1"):
        traced("beale", sgd(), steps=0)


def test_a_record_survives_json():
    record = traced("saddle", sgd(lr=3.0), adam(lr=0.1), steps=7)
    assert TraceRecord.from_json(record.to_json()) == record
    data = record.to_json()
    data["paths"][1]["points"] = "none"
    with pytest.raises(CheckpointError, match="points"):
        TraceRecord.from_json(data)


def said(text):
    page = Path(__file__).parents[2] / "docs" / "trace.md"
    assert text in " ".join(page.read_text(encoding="utf-8").split()), text


@pytest.mark.slow
def test_what_the_page_says_of_rosenbrocks_valley():
    entrants = parse_contestants(["adam", "sgd", "momentum", "rmsprop"])
    paths = {path.name: path for path in traced("rosenbrock", *entrants, steps=200).paths}
    (near,) = (name for name, path in paths.items() if path.final_value <= 0.01)
    assert near == "momentum"
    said("is the only one within 0.01 of the minimum's value after 200 steps")
    left, right, bottom, top = SURFACES["rosenbrock"].view
    outside = [not (left <= x <= right and bottom <= y <= top) for x, y in paths["adam"].points]
    assert sum(outside) == 4
    said("It is out of the view for four of them")


def test_what_the_page_says_of_the_ravine_and_the_saddle():
    rmsprop, plain = parse_contestants(["rmsprop:lr=0.1", "sgd:lr=0.1"])
    (path,) = traced("ravine", rmsprop, steps=160).paths
    square, rates = 0.0, {}
    for step, point in enumerate(path.points[:160], 1):
        x, y = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in point)
        SURFACES["ravine"].value(x, y).backward()
        square = 0.99 * square + 0.01 * float(y.grad) ** 2
        rates[step] = 0.1 / square**0.5
    said(f"from {rates[20]:.2f} at step 20 to {rates[160]:.2f} at step 160 in y")
    (path,) = traced("saddle", plain, steps=200).paths
    said(f"from a thousandth to 1.5 takes {path.left_view} steps")


def test_muon_goes_where_its_adamw_does():
    """A point is no matrix."""
    muon = parse_contestants(["muon:lr=0.1,adamw_weight_decay=0"])
    adamw = parse_contestants(["adamw:lr=0.1,betas=(0.9,0.95),weight_decay=0"])
    (path,), (expected,) = (traced("rosenbrock", *each, steps=30).paths for each in (muon, adamw))
    assert path.points == expected.points
