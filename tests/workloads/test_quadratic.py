"""The quadratic, against what is known of it."""

import math

import pytest
import torch

from adamantine.errors import UsageError
from adamantine.workloads import batches, for_tuning, load
from adamantine.workloads.quadratic import quadratic

CURVATURES = 10.0 ** torch.linspace(0, -3, 100, dtype=torch.float64)


def problem_of(workload):
    """What loss and metric are methods of."""
    return workload.loss.__self__


def test_curvatures_lie_evenly_between_1_and_a_thousandth() -> None:
    workload = load("quadratic")
    x = torch.zeros(1, 100, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(
        lambda x: workload.loss(x, torch.zeros_like(x)), x
    ).view(100, 100)
    torch.testing.assert_close(torch.linalg.eigvalsh(hessian).flip(0), CURVATURES)
    off_diagonal = hessian - hessian.diagonal().diag()
    assert off_diagonal.abs().max() > 0.01  # rotated: no axis is a coordinate
    axis_aligned = torch.autograd.functional.hessian(
        lambda x: quadratic(rotated=False).loss(x, torch.zeros_like(x)), x
    ).view(100, 100)
    torch.testing.assert_close(axis_aligned, CURVATURES.diag())


def test_the_metric_is_what_the_mean_loss_is_above_its_minimum() -> None:
    workload = load("quadratic")
    minimum = problem_of(workload).minimum
    _, targets = workload.train
    assert targets.shape == (20_000, 100)
    targets = targets.double()
    at_minimum = workload.loss(minimum, targets)
    x = torch.randn(3, 100, generator=torch.Generator().manual_seed(1)).double()
    for point in x:
        excess = workload.metric.per_example(point.unsqueeze(0), targets[:1]).item()
        loss = workload.loss(point, targets)
        assert excess == pytest.approx((loss - at_minimum).item(), rel=1e-4)
    assert workload.metric.per_example(minimum.unsqueeze(0), targets[:1]).item() == 0
    # ½ noise² dimension, whose relative spread over 10,000 pairs is √(2 / (100 · 10,000)).
    assert at_minimum.item() == pytest.approx(50, rel=5 * math.sqrt(2e-6))


def test_gradient_noise_is_proportional_to_the_curvature() -> None:
    workload = quadratic(noise=0.5)
    problem = problem_of(workload)
    _, targets = workload.train
    gradients = (problem.minimum - targets.double()) @ problem.axes * problem.curvatures
    variances = gradients.square().mean(0)
    torch.testing.assert_close(variances, 0.25 * CURVATURES, rtol=5 * math.sqrt(2 / 10_000), atol=0)


def test_the_three_sets_are_different_samples() -> None:
    workload = load("quadratic")
    sets = [part[1] for part in (workload.train, workload.validation, workload.test)]
    assert [len(one) for one in sets] == [20_000, 2_000, 2_000]
    assert len(torch.cat(sets).unique(dim=0)) == 24_000
    for one in sets:
        torch.testing.assert_close(one.double().mean(0).float(), sets[0].mean(0), atol=1e-4, rtol=0)


def test_validation_and_test_ask_the_same_question() -> None:
    """The metric is the same number on both, and the loss that number and a constant."""
    workload = load("quadratic")
    tuning = for_tuning(workload)
    sets = [part[1].double() for part in (tuning.train, tuning.test, workload.test)]
    points = torch.randn(3, 100, generator=torch.Generator().manual_seed(2)).double()
    noise = [[] for _ in sets]
    for point in points.split(1):
        scores = {workload.metric.per_example(point, targets).item() for targets in sets}
        (excess,) = scores
        for found, targets in zip(noise, sets, strict=True):
            found.append(workload.loss(point, targets).item() - excess)
    for found in noise:
        assert found == pytest.approx([found[0]] * 3, abs=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_does_not_begin_at_the_minimum(seed: int) -> None:
    """Were both drawn from one seed, seed 0 would have nothing to learn."""
    workload = quadratic(seed=seed)
    torch.manual_seed(seed)
    start = workload.model().x.detach().double()
    # E‖x - x*‖² = 2 · 100 with a spread of 2 √(2 · 100).
    distance = (start - problem_of(workload).minimum).square().sum().item()
    assert abs(distance - 200) < 4 * 2 * math.sqrt(200)


def excess(workload, model) -> float:
    inputs, targets = workload.test
    return workload.metric.per_example(model(inputs[:1]), targets[:1]).item()


def test_descent_without_noise_is_the_closed_form() -> None:
    """All examples at once: their noise sums to zero, and every axis shrinks by (1 - γh)ᵗ."""
    workload = load("quadratic")
    torch.manual_seed(0)
    model = workload.model().double()
    problem, rate = problem_of(workload), 0.5
    first = (model.x.detach() - problem.minimum) @ problem.axes
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    inputs, targets = (part.double() for part in workload.train)
    for _ in range(20):
        optimizer.zero_grad()
        workload.loss(model(inputs), targets).backward()
        optimizer.step()
    expected = (CURVATURES * ((1 - rate * CURVATURES) ** 20 * first).square()).sum() / 2
    assert excess(workload, model) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("rate", "batch_size"), [(0.5, 4), pytest.param(0.05, 1, marks=pytest.mark.slow)]
)
def test_stochastic_descent_is_the_closed_form_in_expectation(rate, batch_size) -> None:
    """The mean over 300 runs of 30 steps, each from x*, so that all of the excess is noise."""
    steps, runs = 30, 300
    workload = quadratic(dimension=20, condition=100.0, noise=2.0)
    h = 10.0 ** torch.linspace(0, -2, 20, dtype=torch.float64)
    shrink = (1 - rate * h) ** 2
    stationary = rate**2 * 4.0 * h / batch_size * (1 - shrink**steps) / (1 - shrink)
    expected = ((h * stationary).sum() / 2).item()

    model = workload.model()
    found = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(runs):
        with torch.no_grad():
            model.x.copy_(problem_of(workload).minimum)
        # Few of 20,000, so that it does not matter that no sample comes twice.
        for _, (inputs, targets) in zip(
            range(steps), batches(workload.train, batch_size, generator), strict=False
        ):
            model.x.grad = None
            workload.loss(model(inputs), targets).backward()
            with torch.no_grad():
                model.x -= rate * model.x.grad
        found.append(excess(workload, model))
    values = torch.tensor(found)
    error = values.std().item() / math.sqrt(runs)
    assert error < 0.04 * expected
    assert abs(values.mean().item() - expected) < 4 * error


def test_a_seed_is_a_problem() -> None:
    one, again, other = quadratic(), quadratic(), quadratic(seed=1)
    assert one.train[1].equal(again.train[1])
    assert not one.train[1].equal(other.train[1])
    before = torch.get_rng_state()
    quadratic()
    assert torch.get_rng_state().equal(before)


def test_its_settings_are_in_its_description() -> None:
    found = quadratic(dimension=3, condition=10, rotated=False)
    assert found.description == (
        "Noisy quadratic: 3 dimensions, condition number 10, axes along the coordinates"
    )
    assert found.train[1].shape == (20_000, 3)
    assert quadratic(noise=0).train[1].unique(dim=0).shape == (1, 100)


@pytest.mark.parametrize(
    "settings", [{"dimension": 0}, {"condition": 0.5}, {"condition": math.inf}, {"noise": -1.0}]
)
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(UsageError, match="expected a dimension of at least 1, a finite condition"):
        quadratic(**settings)
