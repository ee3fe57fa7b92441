"""Tensors that only lie elsewhere, as ``param.data = …`` in every step leaves them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import BackendError

pytestmark = pytest.mark.usefixtures("both_probes")


def clamp(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
    for param in params:
        param.data = param.data.clamp(-0.9, 0.9)


def move_states(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for param in params:
        for value in optimizer.state[param].values():
            value.data = value.data.clone()


def swap(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
    params[0].data, params[1].data = params[1].data, params[0].data


def run(
    module: object, change: Callable[[list[nn.Parameter], torch.optim.Optimizer], None]
) -> tuple[list[nn.Parameter], torch.optim.Optimizer, list[object]]:
    """Six steps with a change before each; the parameters, and the plans that were in use."""
    params = [nn.Parameter(torch.linspace(-1, 1, 6).view(shape)) for shape in ((2, 3), (2, 3), 6)]
    optimizer = module.Adam(params, lr=0.1)  # type: ignore[attr-defined]
    plans = []
    for turn in range(1, 7):
        for place, param in enumerate(params):
            param.grad = torch.full_like(param, 0.1 * turn + place)
        optimizer.step()
        plans.append(getattr(optimizer, "_plan", None))
        change(params, optimizer)
    return params, optimizer, plans


@pytest.mark.parametrize("change", [clamp, move_states, swap])
def test_moved_tensors_are_followed(change: Callable[..., None]) -> None:
    ours, _, plans = run(adamantine, change)
    theirs, _, _ = run(torch.optim, change)
    torch.testing.assert_close([*ours], [*theirs])
    assert all(plan is plans[0] for plan in plans), "nothing has to be built anew"


def test_parameters_that_come_to_share_memory_are_updated_one_by_one() -> None:
    def share(params: list[nn.Parameter], _: torch.optim.Optimizer) -> None:
        params[1].data = params[0].data

    ours, _, _ = run(adamantine, share)
    theirs, _, _ = run(torch.optim, share)
    torch.testing.assert_close([*ours], [*theirs])
    assert ours[0].data_ptr() == ours[1].data_ptr()


def test_a_view_with_a_lazy_minus_sign() -> None:
    """The imaginary part of a conjugate of one element: its stride passes for contiguous."""
    ends = []
    for module in (adamantine, torch.optim):
        param = nn.Parameter(torch.ones(1))
        optimizer = module.SGD([param], lr=0.5)
        for _ in range(3):
            param.grad = torch.ones(1)
            optimizer.step()
            param.data = torch.complex(torch.zeros(1), param.data.clone()).conj().imag
            assert param.data.is_neg()
        ends.append(param.detach().clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize("kept", ["param", "exp_avg"])
def test_a_moved_tensor_whose_storage_is_too_small_is_an_error(kept: str) -> None:
    params, optimizer, _ = run(adamantine, lambda *_: None)
    before = [param.detach().clone() for param in params[1:]]
    tensor: Tensor = params[0] if kept == "param" else optimizer.state[params[0]][kept]
    block = torch.zeros(100)
    tensor.data = block[50:56].view(2, 3)
    block.untyped_storage().resize_(8)
    for param in params:
        param.grad = torch.ones_like(param)
    with pytest.raises(BackendError, match="resized"):
        optimizer.step()
    assert all(map(torch.equal, params[1:], before))


def test_where_a_parameter_without_a_gradient_has_lain_is_free() -> None:
    """Its memory goes to another one; both have moved, and nothing is built anew."""
    params = [nn.Parameter(torch.full((50,), float(i))) for i in range(3)]
    optimizer = adamantine.SGD(params, lr=1.0)
    for param in params:
        param.grad = torch.ones(50)
    optimizer.step()
    plan = optimizer._plan
    params[0].grad = None
    for _ in range(5):
        freed = params[0].data
        params[0].data = params[0].data.clone()
        params[1].data = freed.copy_(params[1].data)
        optimizer.step()
    assert optimizer._plan is plan
    assert torch.equal(params[0], torch.full((50,), -1.0))
    assert torch.equal(params[1], torch.full((50,), -5.0))


def test_one_without_a_gradient_may_share_memory_later() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        params = [nn.Parameter(torch.full((50,), float(i))) for i in range(2)]
        optimizer = module.SGD(params, lr=1.0, momentum=0.9)
        for turn in range(4):
            params[0].grad = torch.ones(50) if turn != 1 else None
            params[1].grad = torch.full((50,), 2.0)
            if turn == 1:
                params[0].data = params[1].data
                params[1].data = params[1].data[:]
            optimizer.step()
        ends.append(params)
    torch.testing.assert_close(*ends)


def test_counters_live_in_main_memory_whatever_the_default_device() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        param = nn.Parameter(torch.ones(3))
        optimizer = module.Adam([param])
        param.grad = torch.ones(3)
        with torch.device("meta"):
            optimizer.step()
        optimizer.step()
        ends.append(param)
    torch.testing.assert_close(*ends)
