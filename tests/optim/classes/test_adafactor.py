"""Adafactor: matrices of all forms beside torch's class, and Hugging Face's for what that lacks."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

import adamantine
from adamantine import Adafactor
from adamantine.errors import BackendError, HyperparameterError, UsageError
from contract import clones, parameters, train

BACKENDS = pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])
FORMS = [(7, 9), (1, 5), (5, 1), (1, 1), (3, 4, 5), (8, 2, 3, 3), (6,), ()]
SETTINGS = [
    {},
    {"weight_decay": 0.1, "lr": 0.1, "beta2_decay": -0.5},
    {"maximize": True, "d": 2.0, "eps": (1e-4, 0.1)},
]


@BACKENDS
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_every_form_of_parameter_as_torch(
    backend: str, settings: dict[str, Any], dtype: torch.dtype, rtol: float
) -> None:
    ours = parameters(*FORMS, dtype=dtype)
    theirs = clones(ours)
    a = Adafactor(ours, **settings, backend=backend)
    b = torch.optim.Adafactor(theirs, **settings)
    train(a, ours, 8)
    train(b, theirs, 8)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=rtol, atol=rtol)


HUGGING_FACES = [
    {},
    {"warmup_init": True},
    {"beta1": 0.9},
    {"relative_step": False, "lr": 1e-2},
    {"relative_step": False, "scale_parameter": False, "lr": 1e-2, "beta1": 0.5},
]


@BACKENDS
@pytest.mark.parametrize("settings", HUGGING_FACES, ids=str)
def test_as_hugging_face(backend: str, settings: dict[str, Any]) -> None:
    """With what the docs say of its defaults."""
    optimization = pytest.importorskip("transformers.optimization")
    ours = parameters((7, 9), (3, 4, 5), 6)
    theirs = clones(ours)
    train(Adafactor(ours, eps=(1e-15, 1e-3), **settings, backend=backend), ours, 8)
    train(optimization.Adafactor(theirs, **settings), theirs, 8)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    """R = (1, 4), C = (2.5, 2.5), mean R = 2.5: V = (1, 1; 4, 4), whose root the gradient is."""
    param = torch.nn.Parameter(torch.tensor([[3.0, -3.0], [3.0, -3.0]], dtype=torch.float64))
    param.grad = torch.tensor([[1.0, -1.0], [2.0, 2.0]], dtype=torch.float64)
    optimizer = Adafactor([param], lr=0.1)
    optimizer.step()
    assert param.tolist() == [pytest.approx([2.7, -2.7]), pytest.approx([2.7, -3.3])]
    assert optimizer.state[param]["row_var"].tolist() == [[1.0], [4.0]]
    assert optimizer.state[param]["col_var"].tolist() == [[2.5, 2.5]]


@BACKENDS
def test_what_is_not_finite_stays_where_it_is(backend: str) -> None:
    """As in torch: of vectors one element, of matrices its row and column."""
    ours = parameters((4, 5), 6)
    theirs = clones(ours)
    a, b = Adafactor(ours, backend=backend), torch.optim.Adafactor(theirs)
    train(a, ours, 3)
    train(b, theirs, 3)
    for bad in (math.nan, math.inf, 1e30):
        for params, optimizer in ((ours, a), (theirs, b)):
            for param in params:
                param.grad = torch.ones_like(param)
                param.grad.view(-1)[2] = bad
            optimizer.step()
        torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_checkpoints_interchange_with_torchs() -> None:
    ours = parameters(*FORMS)
    theirs = clones(ours)
    a, b = Adafactor(ours), torch.optim.Adafactor(theirs)
    train(b, theirs, 3)
    for mine, other in zip(ours, theirs, strict=True):
        mine.data.copy_(other)
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    train(a, ours, 2, seed=5)
    back = torch.optim.Adafactor(clones(ours))
    back.load_state_dict(copy.deepcopy(a.state_dict()))
    train(back, back.param_groups[0]["params"], 2, seed=6)
    train(b, theirs, 2, seed=5)
    train(b, theirs, 2, seed=6)
    torch.testing.assert_close(back.param_groups[0]["params"], theirs, rtol=1e-5, atol=1e-6)


def test_torchs_state_leaves_the_switches_alone() -> None:
    params = parameters((3, 4))
    optimizer = Adafactor(params, scale_parameter=False, relative_step=False)
    optimizer.load_state_dict(torch.optim.Adafactor(clones(params)).state_dict())
    assert optimizer.param_groups[0]["scale_parameter"] is False
    assert optimizer.param_groups[0]["relative_step"] is False
    plain = Adafactor(params).param_groups[0].keys()
    assert plain == torch.optim.Adafactor(clones(params)).param_groups[0].keys()


def test_each_parameter_has_the_epsilon_of_its_dtype() -> None:
    mixed = [parameters(4, dtype=d)[0] for d in (torch.float64, torch.float32, torch.bfloat16)]
    alone = clones(mixed)
    optimizers = [Adafactor(mixed), *(torch.optim.Adafactor([param]) for param in alone)]
    for param in (*mixed, *alone):
        param.grad = torch.full_like(param, 1e-3)
    for optimizer in optimizers:
        optimizer.step()
    for ours, theirs in zip(mixed, alone, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_same_bits_for_any_number_of_threads() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            params = parameters((700, 1001), (1, 200_000), (200_000, 1), (3, 500, 70))
            train(Adafactor(params), params, 2)
            results.append(params)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("beta1", [None, 0.9])
def test_same_bits_beside_a_large_matrix(beta1: float | None) -> None:
    """Which is cut into other chunks; and in steps of one parameter at a time."""
    shapes = (70, 900), (1, 9000), (9000, 1), (3, 5, 700), (40, 30, 3, 3)
    alone, beside, one_by_one = (parameters(*shapes) for _ in range(3))
    large = parameters((1100, 1200), seed=9)
    groups = [[*alone], [*beside, *large], *([param] for param in one_by_one)]
    for params in groups:
        optimizer = Adafactor(params, beta1=beta1)
        for step in range(2):
            for param in params:
                generator = torch.Generator().manual_seed(step + param.numel())
                param.grad = torch.randn(param.shape, generator=generator)
            optimizer.step()
    assert all(map(torch.equal, alone, beside))
    assert all(map(torch.equal, alone, one_by_one))


def test_those_without_a_gradient_stay_as_they_are() -> None:
    ours = parameters((4, 5), (6, 7), (2, 3))
    theirs = clones(ours)
    a, b = Adafactor(ours, backend="cpu"), torch.optim.Adafactor(theirs)
    for step in range(6):
        for params, optimizer in ((ours, a), (theirs, b)):
            generator = torch.Generator().manual_seed(step)
            for index, param in enumerate(params):
                grad = torch.randn(param.shape, generator=generator)
                param.grad = None if step > 1 and step % 3 == index else grad
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(a.state_dict(), b.state_dict())


def test_states_that_are_replaced_or_moved_are_used() -> None:
    ours = parameters((4, 5))
    theirs = clones(ours)
    a, b = Adafactor(ours, backend="cpu"), torch.optim.Adafactor(theirs)
    for step in range(4):
        train(a, ours, 1, seed=step)
        train(b, theirs, 1, seed=step)
        for params, optimizer in ((ours, a), (theirs, b)):
            state = optimizer.state[params[0]]
            if step % 2:
                state["row_var"] = 2 * state["row_var"]
            else:
                state["col_var"].data = 0.5 * state["col_var"]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(a.state_dict(), b.state_dict())


def test_rows_that_are_not_contiguous_go_elsewhere() -> None:
    param = torch.nn.Parameter(torch.randn(5, 4).t())
    param.grad = torch.ones(4, 5)
    Adafactor([param]).step()
    with pytest.raises(BackendError, match="its rows are not contiguous; use backend='auto'"):
        Adafactor([param], backend="cpu").step()


def test_a_first_average_comes_and_goes_with_its_setting() -> None:
    params = parameters((3, 4))
    optimizer = Adafactor(params)
    train(optimizer, params, 2)
    optimizer.param_groups[0]["beta1"] = 0.9
    train(optimizer, params, 2)
    assert optimizer.state[params[0]]["exp_avg"].shape == (3, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta1": 1.0}, "Invalid beta1 value: 1.0"),
        ({"eps": 1e-3}, r"Invalid epsilon: 0.001 \(expected 2 numbers\)"),
        ({"eps": (1e-3, None)}, "epsilon2"),
        ({"beta2_decay": math.nan}, "beta2_decay should be <= 0 but is: nan"),
    ],
)
def test_settings_outside_their_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        Adafactor(parameters(3), **settings)


def test_what_it_does_not_take() -> None:
    param = parameters((3, 4))[0]
    param.grad = torch.eye(3, 4).to_sparse()
    with pytest.raises(BackendError, match="sparse"):
        Adafactor([param]).step()
    param.grad = torch.ones(3, 4)
    with pytest.raises(UsageError, match="'row_var', which is not of its parameter's shape"):
        Adafactor([param], state_dtype={"row_var": "int8"}).step()


def test_is_ours() -> None:
    assert "Adafactor" in adamantine.ours()
    assert issubclass(adamantine.Adafactor, torch.optim.Optimizer)
    assert adamantine.Adafactor is not torch.optim.Adafactor
