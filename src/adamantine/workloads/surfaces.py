"""Functions of two numbers on which an optimizer's path can be looked at.

They are for the eye: two dimensions, no noise. What an optimizer does to a network is another
question, which needs the other workloads.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.errors import UsageError

Point = tuple[float, float]


@dataclass(frozen=True)
class Surface:
    """A function of two numbers and the window it is looked at through.

    Parameters
    ----------
    name
        As it is typed.
    title, formula, source
        What it is, how it is computed and who wrote it first.
    value
        The function; it takes tensors of any one shape, and its gradient comes from autograd.
    start
        Where every path begins.
    minimum
        The point at which it is least; None where it falls without end.
    least
        The value there; without a minimum, the lowest one in the view.
    view
        ``(left, right, bottom, top)``, what a picture shows.
    levels
        Of its contours, in rising order.
    """

    name: str
    title: str
    formula: str
    source: str
    value: Callable[[Tensor, Tensor], Tensor]
    start: Point
    minimum: Point | None
    least: float
    view: tuple[float, float, float, float]
    levels: tuple[float, ...]

    def landscape(self, columns: int, rows: int) -> Tensor:
        """Values over the view in float64: rows from the bottom up, columns from the left."""
        left, right, bottom, top = self.view
        x = torch.linspace(left, right, columns, dtype=torch.float64)
        y = torch.linspace(bottom, top, rows, dtype=torch.float64)
        return self.value(*torch.meshgrid(x, y, indexing="xy"))


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    """A bent valley whose floor is nearly flat."""
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x: Tensor, y: Tensor) -> Tensor:
    """A plateau, steep walls at the corners, and a narrow basin."""
    return (1.5 - x * (1 - y)) ** 2 + (2.25 - x * (1 - y**2)) ** 2 + (2.625 - x * (1 - y**3)) ** 2


STEEP, GENTLE, ANGLE = 50.0, 1.0, math.pi / 6
"""The ravine's curvatures, and by how much its floor is turned against the x-axis."""


def ravine(x: Tensor, y: Tensor) -> Tensor:
    """A quadratic with a condition number of 50 whose axes are not the coordinates."""
    along = math.cos(ANGLE) * x + math.sin(ANGLE) * y
    across = math.cos(ANGLE) * y - math.sin(ANGLE) * x
    return (GENTLE * along**2 + STEEP * across**2) / 2


def saddle(x: Tensor, y: Tensor) -> Tensor:
    """Up to both sides, slowly down to the other two."""
    return x**2 - y**2 / 5


def _powers(first: float, last: float, a_decade: int) -> tuple[float, ...]:
    """Levels evenly apart on a logarithmic scale."""
    count = round(math.log10(last / first) * a_decade) + 1
    return tuple(first * 10 ** (index / a_decade) for index in range(count))


SURFACES = {
    surface.name: surface
    for surface in (
        Surface(
            "rosenbrock",
            "Rosenbrock's valley",
            "(1 − x)² + 100 (y − x²)²",
            "Rosenbrock 1960, The Computer Journal 3(3):175–184",
            rosenbrock,
            start=(-1.2, 1.0),
            minimum=(1.0, 1.0),
            least=0.0,
            view=(-1.8, 1.8, -0.7, 2.0),
            levels=_powers(0.1, 1000, 3),
        ),
        Surface(
            "beale",
            "Beale's function",
            "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
            "Beale 1958, Technical Report 25, Princeton University;"
            " start of Moré, Garbow and Hillstrom 1981, ACM TOMS 7(1):17–41",
            beale,
            start=(1.0, 1.0),
            minimum=(3.0, 0.5),
            least=0.0,
            view=(0.2, 4.2, -1.2, 1.8),
            levels=_powers(0.01, 1000, 3),
        ),
        Surface(
            "ravine",
            "A ravine",
            "½ (u² + 50 v²), with u, v the coordinates turned by 30°",
            "Polyak 1964, USSR Comp. Math. and Math. Phys. 4(5):1–17: what momentum is for",
            ravine,
            start=(-2.0, -0.2),
            minimum=(0.0, 0.0),
            least=0.0,
            view=(-2.6, 1.4, -1.8, 1.2),
            levels=_powers(0.01, 1000, 3),
        ),
        Surface(
            "saddle",
            "A saddle",
            "x² − y²/5",
            "Dauphin et al. 2014, arXiv:1406.2572: why saddles matter",
            saddle,
            start=(-1.6, 0.001),
            minimum=None,
            least=-0.45,
            view=(-2.0, 2.0, -1.5, 1.5),
            levels=(-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
        ),
    )
}


def surface(name: str) -> Surface:
    """The surface called `name`.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if name not in SURFACES:
        near = difflib.get_close_matches(name, SURFACES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"there is no surface {name!r}; {hint}there are {', '.join(SURFACES)}")
    return SURFACES[name]
