"""SparseAdam beside torch's, which has no other switches; the rest is Adam's ``sparse="lazy"``."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import BackendError
from sparse_cases import ROWS, WIDTH, every_backend, feed, gradients

SETTINGS: list[dict[str, Any]] = [
    {},
    {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
    {"maximize": True},
    {"lr": torch.tensor(0.05, dtype=torch.float64)},  # torch computes in its dtype
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def tables(count: int, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    start = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    return [nn.Parameter(start.clone()) for _ in range(count)]


@every_backend
@every_setting
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_as_torchs(dtype: torch.dtype, settings: dict[str, Any], backend: Any) -> None:
    ours, theirs = tables(2, dtype)
    a = adamantine.SparseAdam([ours], **settings, backend=backend)
    b = torch.optim.SparseAdam([theirs], **settings)
    grads = gradients(30, dtype=dtype)
    feed(a, ours, grads)
    feed(b, theirs, grads)
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol / 10)
    found, expected = (o.state_dict() for o in (a, b))
    assert found["param_groups"] == expected["param_groups"]
    assert list(found["state"][0]) == list(expected["state"][0])
    assert found["state"][0]["step"] == 30
    assert isinstance(found["state"][0]["step"], int)
    torch.testing.assert_close(found["state"], expected["state"], rtol=10 * rtol, atol=rtol)


@every_backend
def test_has_the_bits_of_adams_lazy_steps(backend: Any) -> None:
    one, other = tables(2)
    feed(adamantine.SparseAdam([one], backend=backend), one, gradients(20))
    feed(adamantine.Adam([other], sparse="lazy", backend=backend), other, gradients(20))
    assert torch.equal(one, other)


def test_exact_steps_are_adams() -> None:
    one, other = tables(2)
    for param, optimizer in (
        (one, adamantine.SparseAdam([one], sparse="exact")),
        (other, adamantine.Adam([other], sparse="exact")),
    ):
        feed(optimizer, param, gradients(20))
        optimizer.flush()
    assert torch.equal(one, other)


@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_checkpoints_go_both_ways(direction: str) -> None:
    params = tables(2)
    optimizers: list[Any] = [adamantine.SparseAdam(params[:1]), torch.optim.SparseAdam(params[1:])]
    if direction == "from torch":
        params, optimizers = params[::-1], optimizers[::-1]
    feed(optimizers[0], params[0], gradients(8))
    file = io.BytesIO()
    torch.save(optimizers[0].state_dict(), file)
    file.seek(0)
    optimizers[1].load_state_dict(torch.load(file, weights_only=True))
    params[1].data.copy_(params[0].detach())
    for optimizer, param in zip(optimizers, params, strict=True):
        feed(optimizer, param, gradients(8))
    torch.testing.assert_close(*params, rtol=1e-5, atol=1e-6)


def test_copies_continue_alike() -> None:
    (param,) = tables(1)
    optimizer = adamantine.SparseAdam([param])
    feed(optimizer, param, gradients(5))
    other = copy.deepcopy(optimizer)
    (again,) = other.param_groups[0]["params"]
    feed(optimizer, param, gradients(5))
    feed(other, again, gradients(5))
    assert torch.equal(param, again)


def test_gradients_are_clipped_by_their_norm() -> None:
    """Which Adam sees in the sizes of gradients from step to step alone."""
    ends = []
    for options in ({}, {"max_grad_norm": 0.1}):
        (param,) = tables(1)
        optimizer = adamantine.SparseAdam([param], **options)
        grads = gradients(6)
        if not options:
            norms = [float(g.coalesce().values().norm()) for g in grads]
            factors = [min(1.0, 0.1 / (norm + 1e-6)) for norm in norms]
            grads = [g * factor for g, factor in zip(grads, factors, strict=True)]
        feed(optimizer, param, grads)
        ends.append(param.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("closure", [False, True])
def test_dense_gradients_are_refused_before_anything_is_written(closure: bool) -> None:
    params = tables(2)
    before = params[0].detach().clone()
    optimizer = adamantine.SparseAdam(params)

    def give() -> Tensor:
        params[0].grad = gradients(1)[0]
        params[1].grad = torch.ones_like(params[1])
        return torch.zeros(())

    give()
    with pytest.raises(BackendError, match=r"^SparseAdam does not support dense gradients, please"):
        optimizer.step(give) if closure else optimizer.step()
    assert torch.equal(params[0], before)
    assert not optimizer.state


def test_dense_gradients_are_refused_in_backward() -> None:
    table = nn.Embedding(4, 3)
    optimizer = adamantine.SparseAdam(table.parameters())
    optimizer.step_in_backward(table)
    with pytest.raises(BackendError, match="SparseAdam does not support dense gradients"):
        table(torch.tensor([1])).sum().backward()


@pytest.mark.parametrize(
    ("param", "settings"),
    [
        (torch.ones(3), {"lr": -1.0}),
        (torch.ones(3), {"lr": 0.0}),
        (torch.ones(3), {"eps": 0.0}),
        (torch.ones(3), {"eps": -1.0}),
        (torch.ones(3), {"betas": (1.0, 0.9)}),
        (torch.ones(3), {"lr": torch.ones(2)}),
        (torch.ones(3).to_sparse(), {}),
        (torch.ones(3, dtype=torch.complex64), {}),
    ],
)
def test_refuses_what_torchs_refuses_in_its_words(param: Tensor, settings: dict) -> None:
    said = []
    for cls in (adamantine.SparseAdam, torch.optim.SparseAdam):
        with pytest.raises(ValueError) as raised:
            cls([param], **settings)
        said.append(str(raised.value).partition(" (expected")[0])
    assert said[0] == said[1]


def test_a_schedule_may_end_at_a_learning_rate_of_zero() -> None:
    (param,) = tables(1)
    optimizer = adamantine.SparseAdam([param])
    feed(optimizer, param, gradients(3))
    optimizer.param_groups[0]["lr"] = 0.0
    adamantine.SparseAdam(tables(1)).load_state_dict(optimizer.state_dict())
