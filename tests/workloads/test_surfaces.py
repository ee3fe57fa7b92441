import math

import pytest
import torch

from adamantine.errors import UsageError
from adamantine.workloads.surfaces import ANGLE, SURFACES, surface

EVERY = pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)


def value_and_gradient(surface, point):
    at = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    value = surface.value(*at)
    value.backward()
    return value.item(), at.grad.tolist()


@pytest.mark.parametrize(
    ("name", "point", "value", "gradient"),
    [
        # Worked out by hand; the values at the starts are those of Moré, Garbow and Hillstrom.
        ("rosenbrock", (-1.2, 1.0), 24.2, (-215.6, -88.0)),
        ("rosenbrock", (0.0, 0.0), 1.0, (-2.0, 0.0)),
        ("beale", (1.0, 1.0), 14.203125, (0.0, 27.75)),
        ("beale", (0.0, 0.0), 14.203125, (-12.75, 0.0)),
        # Along the floor and straight across it, at distance 1.
        ("ravine", (math.cos(ANGLE), math.sin(ANGLE)), 0.5, (math.cos(ANGLE), math.sin(ANGLE))),
        ("ravine", (-math.sin(ANGLE), math.cos(ANGLE)), 25.0, (-25.0, 25 * math.sqrt(3))),
        ("saddle", (3.0, 2.0), 8.2, (6.0, -0.8)),
        ("saddle", (0.0, 0.0), 0.0, (0.0, 0.0)),
    ],
)
def test_values_and_gradients(name, point, value, gradient):
    found, slope = value_and_gradient(SURFACES[name], point)
    assert found == pytest.approx(value, rel=1e-14)
    assert slope == pytest.approx(gradient, rel=1e-14, abs=1e-14)


@EVERY
def test_the_minimum_is_one(surface):
    lowest = surface.landscape(181, 136).min().item()
    if surface.minimum is None:
        assert lowest == pytest.approx(surface.least, rel=1e-14)
        return
    assert value_and_gradient(surface, surface.minimum) == (surface.least, [0.0, 0.0])
    x, y = torch.tensor(surface.minimum, dtype=torch.float64, requires_grad=True)
    hessian = torch.autograd.functional.hessian(surface.value, (x, y))
    assert torch.linalg.eigvalsh(torch.tensor(hessian)).min() > 0
    assert lowest >= surface.least


def test_the_ravine_is_as_narrow_as_it_says():
    zero = torch.zeros(2, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(SURFACES["ravine"].value, tuple(zero))
    assert torch.linalg.eigvalsh(torch.tensor(hessian)).tolist() == pytest.approx([1, 50])


@EVERY
def test_the_view_shows_the_start_the_minimum_and_contours(surface):
    left, right, bottom, top = surface.view
    for x, y in filter(None, (surface.start, surface.minimum)):
        assert left < x < right
        assert bottom < y < top
    ground = surface.landscape(181, 136)
    assert list(surface.levels) == sorted(set(surface.levels))
    crossed = [level for level in surface.levels if ground.min() < level < ground.max()]
    assert len(crossed) >= 8


def test_the_landscape_has_rows_from_the_bottom_up():
    rosenbrock = SURFACES["rosenbrock"]
    ground = rosenbrock.landscape(3, 2)
    left, right, bottom, top = rosenbrock.view
    assert ground.shape == (2, 3)
    corners = [value_and_gradient(rosenbrock, p)[0] for p in ((left, top), (right, bottom))]
    assert [ground[1, 0].item(), ground[0, 2].item()] == corners


def test_another_name():
    assert surface("beale") is SURFACES["beale"]
    with pytest.raises(UsageError, match="did you mean 'rosenbrock'"):
        surface("rosenbrok")
    with pytest.raises(UsageError, match="'xyz'; there are rosenbrock, beale, ravine, saddle"):
        surface("xyz")
