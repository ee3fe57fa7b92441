"""The workload `quadratic`: noisy and ill-conditioned, and its minimum is known."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from adamantine.errors import UsageError
from adamantine.workloads.protocol import Batch, Metric, Workload

DIMENSION, CONDITION = 100, 1_000.0
# A seed of the problem is never one of a run, whose first weights it would give away.
SEEDS = 2_000_000_000

TRAIN_EXAMPLES, HELD_OUT_EXAMPLES = 20_000, 2_000


@dataclass(frozen=True)
class Quadratic:
    """``½ (x - x*)ᵀ H (x - x*)``, seen through samples.

    Parameters
    ----------
    minimum
        ``x*``, shape ``(dimension,)``.
    curvatures
        The eigenvalues of ``H``, in falling order.
    axes
        Its eigenvectors, one a column.
    """

    minimum: Tensor
    curvatures: Tensor
    axes: Tensor

    @cached_property
    def root(self) -> Tensor:
        """A root of ``H``: ``‖root d‖² = dᵀ H d``, which cannot come out negative."""
        return self.curvatures.sqrt().unsqueeze(1) * self.axes.T

    def value(self, outputs: Tensor, center: Tensor) -> Tensor:
        """``½ (x - c)ᵀ H (x - c)`` for each row of `outputs`."""
        rooted = (outputs - center.to(outputs)) @ self.root.to(outputs).T
        return rooted.square().sum(1) / 2

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over samples as centers; its gradient is ``H (x - mean of the targets)``."""
        return self.value(outputs, targets).mean()

    def excess(self, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """What is lost against the minimum: the value without noise."""
        return self.value(outputs, self.minimum)

    def samples(self, count: int, noise: float, generator: torch.Generator) -> Batch:
        """Targets ``x* + e`` with ``e ~ N(0, noise² H⁻¹)``; there are no inputs but zeros.

        They come in pairs ``x* ± e``, so that the mean of all is the minimum.
        """
        spread = noise * self.axes / self.curvatures.sqrt()
        drawn = torch.randn(count // 2, len(self.minimum), generator=generator)
        offsets = drawn.to(spread) @ spread.T
        targets = self.minimum + torch.cat([offsets, -offsets])
        return torch.zeros(len(targets), 1), targets.float()


class Point(nn.Module):
    """The model: a point, whatever the inputs; it begins at N(0, 1) in every coordinate."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.randn(dimension))

    def forward(self, inputs: Tensor) -> Tensor:
        """The point, once for every input."""
        return self.x.expand(len(inputs), -1)


def quadratic(
    *,
    dimension: int = DIMENSION,
    condition: float = CONDITION,
    noise: float = 1.0,
    rotated: bool = True,
    seed: int = 0,
) -> Workload:
    """The noisy quadratic model (Zhang et al., NeurIPS 2019), whose answer is known.

    The curvatures lie evenly on a logarithmic scale from 1 down to ``1 / condition``. The gradient
    of one example has the covariance ``noise² H``, as in least squares with noisy labels, and the
    mean of all training examples has no noise: the training loss is least at ``x*``, where it is
    about ``½ noise² dimension``. The metric leaves the noise out: it is the excess over the
    minimum, and 0 is reached by ``x*`` alone. It is exact, and the same on every data set: what is
    chosen by the validation data is not chosen by the luck of a sample. Validation and test ask one
    question, and only a run's own noise (its first point, the order of the samples) can mislead,
    which runs with other seeds show.

    SGD with a learning rate ``γ`` and batches of ``B`` takes the part of ``x - x*`` along a
    curvature ``h`` from ``d`` to, in expectation after ``t`` steps,
    ``E d² = (1 - γh)²ᵗ d² + γ² noise² h / B · (1 - (1 - γh)²ᵗ) / (1 - (1 - γh)²)``.

    Parameters
    ----------
    dimension
        At least 1.
    condition
        The largest curvature by the least, at least 1.
    noise
        Standard deviation of an example's gradient along an axis of curvature 1; 0 for none.
    rotated
        Whether the axes are random directions. Otherwise they are the coordinates, as suits a
        method with a step size for each coordinate best.
    seed
        Of the minimum, the axes and the samples.

    Raises
    ------
    UsageError
        If a number is out of its range.
    """
    if not (dimension >= 1 and 1 <= condition < math.inf and 0 <= noise < math.inf):
        raise UsageError(
            f"quadratic of dimension {dimension}, condition {condition}, noise {noise}: expected"
            " a dimension of at least 1, a finite condition of at least 1, and a finite noise of"
            " at least 0"
        )
    generator = torch.Generator().manual_seed(SEEDS + seed)
    minimum = torch.randn(dimension, generator=generator).double()
    problem = Quadratic(
        minimum,
        torch.logspace(0, -math.log10(condition), dimension, dtype=torch.float64),
        _random_axes(dimension, generator) if rotated else torch.eye(dimension).double(),
    )
    train, validation, test = (
        problem.samples(count, noise, generator)
        for count in (TRAIN_EXAMPLES, HELD_OUT_EXAMPLES, HELD_OUT_EXAMPLES)
    )
    return Workload(
        "quadratic",
        lambda: Point(dimension),
        train=train,
        validation=validation,
        test=test,
        loss=problem.loss,
        metric=Metric("excess loss", problem.excess, "min"),
        description=describe(dimension, condition, rotated=rotated),
    )


def describe(
    dimension: int = DIMENSION, condition: float = CONDITION, *, rotated: bool = True
) -> str:
    """One line for ``adamantine list``."""
    axes = "at random" if rotated else "along the coordinates"
    return f"Noisy quadratic: {dimension} dimensions, condition number {condition:,g}, axes {axes}"


def _random_axes(dimension: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns, no direction preferred (signs as Mezzadri, 2007)."""
    q, r = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator).double())
    axes: Tensor = q * r.diagonal().sign()
    return axes
