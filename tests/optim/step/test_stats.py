"""``stats()``: formats, groups, what is left out, extremes, and what copies keep."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import UsageError

every_backend = pytest.mark.parametrize("backend", ["auto", "lists", "reference"])


def parameter(values: Tensor, grad: Tensor | None = None) -> nn.Parameter:
    param = nn.Parameter(values.clone())
    param.grad = grad
    return param


def drawn(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator), torch.randn(count, generator=generator)


def norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.detach().double()))


def measured_step(optimizer: Any, param: nn.Parameter) -> tuple[Any, Tensor]:
    """What a step tells, and what it did."""
    before = param.detach().clone()
    optimizer.step()
    (told,) = optimizer.stats()
    return told, param.detach().double() - before.double()


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("dtype", "state_dtype"),
    [
        (torch.float32, "int8"),
        pytest.param(torch.bfloat16, "bfloat16", marks=pytest.mark.slow),
        pytest.param(torch.float32, "bfloat16", marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, "int8", marks=pytest.mark.slow),
    ],
)
def test_in_fewer_bits(backend: str, state_dtype: str, dtype: torch.dtype) -> None:
    """Of a bfloat16 parameter too, what counts is what it was and is."""
    values, grad = (t.to(dtype) for t in drawn(1000))
    a, b = parameter(values, grad), parameter(values, grad.clone())
    rounding = "stochastic" if dtype == torch.bfloat16 else "nearest"
    options = {"state_dtype": state_dtype, "param_rounding": rounding, "backend": backend}
    measured = adamantine.Adam([a], lr=1e-2, collect_stats=True, **options)
    plain = adamantine.Adam([b], lr=1e-2, **options)
    for _ in range(3):
        told, update = measured_step(measured, a)
        assert told.update_norm == pytest.approx(norm(update), rel=1e-4)
        assert told.param_norm == pytest.approx(norm(a), rel=1e-4)
        assert told.grad_norm == pytest.approx(norm(grad), rel=1e-4)
        plain.step()
    assert torch.equal(a, b)
    ours, others = (o.state_dict(compact=True)["state"][0] for o in (measured, plain))
    assert all(torch.equal(ours[name], others[name]) for name in ours | others)


@pytest.mark.parametrize(
    "options",
    [
        {"master": "24bit"},
        pytest.param({"master": "float32"}, marks=pytest.mark.slow),
        pytest.param({"master": "24bit", "state_dtype": "int8"}, marks=pytest.mark.slow),
        pytest.param({"param_rounding": "kahan", "state_dtype": "float32"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@every_backend
def test_what_the_optimizer_holds_of_a_parameter_counts(backend: str, options: Any) -> None:
    """A bfloat16 alone jumps by a digit now and then: its steps would be far too long."""
    if backend == "lists" and options.get("state_dtype") == "int8":
        pytest.skip("lists take no codes")
    values, grad = (t.bfloat16() for t in drawn(1000))
    a, b = parameter(values, grad), parameter(values.float(), grad.float())
    half = adamantine.Adam([a], lr=1e-5, collect_stats=True, backend=backend, **options)
    state_dtype = options.get("state_dtype", "float32")
    full = adamantine.Adam([b], lr=1e-5, collect_stats=True, state_dtype=state_dtype)
    for _ in range(3):
        (told, _), (expected, _) = measured_step(half, a), measured_step(full, b)
        assert told.update_norm == pytest.approx(expected.update_norm, rel=0.05)
        assert told.param_norm == pytest.approx(expected.param_norm, rel=1e-4)
        assert told.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
        assert told.learning_rates == pytest.approx(expected.learning_rates, rel=1)


def test_an_update_that_a_bfloat16_cannot_hold_is_none() -> None:
    param = parameter(torch.ones(70, dtype=torch.bfloat16), torch.ones(70, dtype=torch.bfloat16))
    told, _ = measured_step(adamantine.SGD([param], lr=1e-4, collect_stats=True), param)
    assert (told.update_norm, told.update_ratio) == (0, 0)
    assert told.learning_rates == (0,) * 5


@every_backend
def test_the_learning_rate_of_sgd_is_what_it_was_given(backend: str) -> None:
    params = [parameter(torch.zeros(9), drawn(9)[1]), parameter(torch.zeros(5), drawn(5)[1])]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.5}]
    optimizer = adamantine.SGD(groups, lr=0.1, collect_stats=True, backend=backend)
    optimizer.step()
    for told, lr in zip(optimizer.stats(), (0.1, 0.5), strict=True):
        assert told.learning_rates == pytest.approx((lr,) * 5, rel=1e-5)
        assert told.update_ratio == pytest.approx(1)


def test_names_are_those_that_groups_have() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model(torch.ones(1, 3)).sum().backward()
    named = adamantine.SGD(model.named_parameters(), collect_stats=True)
    unnamed = adamantine.SGD(
        [{"params": model[0].parameters()}, {"params": model[1].weight}], collect_stats=True
    )
    model[0].bias.grad = None
    for optimizer in (named, unnamed):
        optimizer.step()
    assert [told.name for told in named.stats()] == ["0.weight", "1.weight", "1.bias"]
    places = ["parameter 0 of group 0", "parameter 0 of group 1"]
    assert [told.name for told in unnamed.stats()] == places


@every_backend
@pytest.mark.parametrize("zero_grad", [True, "zeros"])
def test_gradients_are_looked_at_before_they_are_zeroed(backend: str, zero_grad: Any) -> None:
    grad = torch.tensor([1e25, math.inf, 2.0, 3.0])
    param = parameter(torch.ones(4), grad.clone())
    other = parameter(torch.ones(1), torch.ones(1))
    optimizer = adamantine.SGD(
        [param, other], backend=backend, collect_stats=2, zero_grad=zero_grad
    )
    optimizer.step()
    for told, share in zip(optimizer.stats(), (0.25, 0), strict=True):
        assert told.nonfinite == share
    left = [p.grad for p in (param, other)]
    assert all(g is None if zero_grad is True else not g.any() for g in left)
    other.grad = torch.ones(1)
    optimizer.step()  # not measured: zeroed in the pass
    assert optimizer.stats()[0].nonfinite == 0.25


@every_backend
@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_a_norm_whose_square_no_float32_holds(backend: str, size: float) -> None:
    values, grad = (size * t for t in drawn(100))
    param = parameter(values, grad)
    told, _ = measured_step(
        adamantine.SGD([param], lr=1e-3, collect_stats=True, backend=backend), param
    )
    assert told.grad_norm == pytest.approx(norm(grad), rel=1e-6)
    assert told.param_norm == pytest.approx(norm(param), rel=1e-6)
    assert told.nonfinite == 0


@every_backend
def test_float64_that_not_even_float64_can_square(backend: str) -> None:
    param = parameter(torch.zeros(3).double(), torch.full((3,), 1e200, dtype=torch.float64))
    told, _ = measured_step(adamantine.SGD([param], collect_stats=True, backend=backend), param)
    assert (told.grad_norm, told.nonfinite) == (math.inf, 0)


@every_backend
def test_what_there_is_nothing_to_say_of(backend: str) -> None:
    """No elements, nothing but zeros, and a gradient that clipping makes zero."""
    params = [parameter(torch.zeros(n), torch.zeros(n)) for n in (0, 3)]
    params.append(parameter(torch.ones(2), torch.tensor([math.inf, 1.0])))
    optimizer = adamantine.SGD(params, collect_stats=True, max_grad_norm=1.0, backend=backend)
    optimizer.step()
    *zeros, infinite = optimizer.stats()
    for told in zeros:
        assert (told.grad_norm, told.update_norm, told.param_norm, told.nonfinite) == (0, 0, 0, 0)
        assert all(map(math.isnan, (told.update_ratio, *told.learning_rates)))
    assert (infinite.grad_norm, infinite.nonfinite, infinite.clipped) == (math.inf, 0.5, 0)


def test_sparse_gradients_count_with_what_they_add_up_to() -> None:
    values, _ = drawn(30)
    table = parameter(values.reshape(10, 3))
    index = torch.tensor([[2, 7, 2]])
    rows = torch.tensor([[1.0, 2, 3], [4, 5, 6], [1, 1, 1]])
    table.grad = torch.sparse_coo_tensor(index, rows, (10, 3), check_invariants=True)
    told, update = measured_step(adamantine.SGD([table], lr=0.1, collect_stats=True), table)
    assert told.grad_norm == pytest.approx(norm(table.grad.to_dense()))
    assert told.update_norm == pytest.approx(norm(update))
    assert told.learning_rates == pytest.approx((0.1,) * 5, rel=1e-5)


def test_complex_parameters() -> None:
    values = torch.tensor([3 + 4j, 1 - 1j])
    optimizer = adamantine.SGD([parameter(values, values.clone())], lr=0.5, collect_stats=True)
    optimizer.step()
    (told,) = optimizer.stats()
    assert told.grad_norm == pytest.approx(math.sqrt(27))
    assert told.update_norm == pytest.approx(0.5 * math.sqrt(27))
    assert told.learning_rates == pytest.approx((0.5,) * 5, rel=1e-6)


@every_backend
def test_a_scalers_gradients_are_told_unscaled(backend: str) -> None:
    values, grad = drawn(50)
    param = parameter(values)
    optimizer = adamantine.SGD(
        [param], lr=0.1, collect_stats=True, max_grad_norm=1.0, backend=backend
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    scaler.scale((param * grad).sum()).backward()
    scaler.step(optimizer)
    (told,) = optimizer.stats()
    assert told.grad_norm == pytest.approx(norm(grad), rel=1e-5)
    assert told.clipped == pytest.approx(1 / norm(grad), rel=1e-5)
    assert told.learning_rates == pytest.approx((0.1,) * 5, rel=1e-3)
    param.grad[3] = math.inf
    scaler.update()
    scaler.step(optimizer)  # left out
    assert optimizer.stats() == [told]
    assert (optimizer.skipped_steps, optimizer.measured_steps) == (1, 1)


@every_backend
def test_a_step_left_out_tells_nothing(backend: str) -> None:
    param = parameter(torch.ones(3), torch.full((3,), math.nan))
    optimizer = adamantine.SGD([param], collect_stats=True, skip_nonfinite=True, backend=backend)
    optimizer.step()
    assert (optimizer.stats(), optimizer.measured_steps) == ([], 0)
    param.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.stats()[0].grad_norm == pytest.approx(math.sqrt(3))


@every_backend
def test_every_third_step_and_from_a_restart_on(backend: str) -> None:
    param = parameter(torch.ones(4))
    optimizer = adamantine.SGD([param], collect_stats=3, backend=backend)
    told = []
    for step in range(1, 9):
        param.grad = torch.full((4,), float(step))
        if step == 6:
            optimizer.restart_stats()
            assert optimizer.stats() == []
        optimizer.step()
        told.append((optimizer.stats()[0].grad_norm / 2, optimizer.measured_steps))
    expected = [(1, 1), (1, 1), (1, 1), (4, 2), (4, 2), (6, 3), (6, 3), (6, 3)]
    assert told == [(pytest.approx(size), count) for size, count in expected]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_tell_the_same_and_go_on_counting(copier: Any) -> None:
    param = parameter(torch.ones(4), torch.ones(4))
    optimizer = adamantine.Adam([param], collect_stats=2)
    optimizer.step()
    other = copier(optimizer)
    assert other.stats() == optimizer.stats()
    (twin,) = other.param_groups[0]["params"]
    twin.grad = torch.ones(4)
    for _ in range(2):
        optimizer.step()
        other.step()
    assert other.stats() == optimizer.stats()
    assert other.measured_steps == optimizer.measured_steps == 2


def test_without_it_the_error_says_how() -> None:
    optimizer = adamantine.SGD([parameter(torch.ones(1))])
    for ask in (optimizer.stats, optimizer.restart_stats):
        with pytest.raises(UsageError, match="collect_stats=True"):
            ask()
    assert optimizer.measured_steps == 0
    assert adamantine.SGD([parameter(torch.ones(1))], collect_stats=True).stats() == []


def test_options_are_told_where_they_are_not_at_their_defaults() -> None:
    params = [parameter(torch.ones(1))]
    assert adamantine.Adam(params, state_dtype="int8", max_grad_norm=None).options == {}
    optimizer = adamantine.Adam(params, max_grad_norm=1.0, skip_nonfinite=True, rounding_seed=3)
    assert optimizer.options == {"max_grad_norm": 1.0, "skip_nonfinite": 25, "rounding_seed": 3}
    assert copy.deepcopy(optimizer).options == optimizer.options


def test_any_number_of_threads_tells_the_same() -> None:
    values, grad = drawn(200_003)
    told, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            optimizer = adamantine.Adam([parameter(values, grad)], collect_stats=True)
            optimizer.step()
            told.append(optimizer.stats())
    finally:
        torch.set_num_threads(before)
    assert told[0] == told[1] == told[2]
