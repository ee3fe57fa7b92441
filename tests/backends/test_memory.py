"""Tensors in every layout, and tensors that share memory, are stepped as torch steps them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import adamantine

pytestmark = pytest.mark.usefixtures("both_probes")


def test_channels_last_weight_with_contiguous_gradient() -> None:
    """torch.optim.Adam(fused=True) pairs the wrong elements here (torch 2.13), and says nothing."""
    shape = (4, 3, 5, 2)
    grads = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    ends = []
    for cls, options in ((adamantine.Adam, {}), (torch.optim.Adam, {"foreach": False})):
        weight = nn.Parameter(start.clone().to(memory_format=torch.channels_last))
        optimizer = cls([weight], lr=0.1, **options)
        for grad in grads:
            weight.grad = grad.clone()
            optimizer.step()
        assert weight.is_contiguous(memory_format=torch.channels_last)
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1])


LAYOUTS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda t: t.clone(),
    lambda t: t.t().contiguous().t(),
    lambda t: torch.stack([t, t], dim=2)[..., 0],
    lambda t: t[:1, :1].clone().expand(6, 5) + 0 * t,
    lambda t: torch.cat([t, t], dim=1)[:, :5],
    lambda t: t.flip(0).flip(0),
]


@pytest.mark.parametrize("param_layout", range(len(LAYOUTS)))
@pytest.mark.parametrize("grad_layout", range(len(LAYOUTS)))
def test_any_layout_against_any_other(param_layout: int, grad_layout: int) -> None:
    values = torch.arange(30.0).view(6, 5) / 10
    ends = []
    for cls in (adamantine.Adam, torch.optim.Adam):
        param = nn.Parameter(LAYOUTS[param_layout](values.clone()))
        optimizer = cls([param], lr=0.1)
        for i in range(3):
            param.grad = LAYOUTS[grad_layout](values * (i + 1) - 1)
            optimizer.step()
        ends.append(param.detach())
    torch.testing.assert_close(ends[0], ends[1])


def test_state_saved_in_another_layout() -> None:
    """A checkpoint of a contiguous model, loaded for a channels-last one."""
    start = torch.randn(4, 3, 5, 2)
    plain = nn.Parameter(start.clone())
    source = torch.optim.Adam([plain], lr=0.1)
    plain.grad = start.clone()
    source.step()
    weight = nn.Parameter(plain.detach().clone().to(memory_format=torch.channels_last))
    optimizer = adamantine.Adam([weight], lr=0.1)
    optimizer.load_state_dict(copy.deepcopy(source.state_dict()))
    # torch's loading keeps values but may change strides; force the mismatch.
    state = optimizer.state[weight]
    state["exp_avg"] = state["exp_avg"].contiguous()
    for param, stepper in ((plain, source), (weight, optimizer)):
        param.grad = start * 2
        stepper.step()
    torch.testing.assert_close(plain, weight)


def test_gradient_with_a_lazy_minus_sign() -> None:
    for size in (1, 3):
        param = nn.Parameter(torch.zeros(size))
        optimizer = adamantine.SGD([param], lr=1.0)
        for _ in range(2):
            param.grad = torch.full((size,), 1 + 2j).conj().imag
            assert param.grad.is_neg()
            optimizer.step()
        assert (param == 4).all()


def test_same_parameter_twice_in_a_group() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        param = nn.Parameter(torch.ones(600_000))
        with pytest.warns(UserWarning, match="duplicate parameters"):
            optimizer = module.Adam([param, param], lr=0.25)
        for _ in range(3):
            param.grad = torch.ones_like(param)
            optimizer.step()
        ends.append(param.detach())
    torch.testing.assert_close(ends[0], ends[1])


def test_shared_parameter_in_two_groups_is_refused() -> None:
    param = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        adamantine.Adam([{"params": [param]}, {"params": [param]}])


def test_parameters_that_share_memory_are_updated_one_after_the_other() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        memory = torch.zeros(600_010)
        params = [nn.Parameter(memory[:600_000]), nn.Parameter(memory[10:]), nn.Parameter(memory)]
        optimizer = module.SGD(params, lr=1.0, weight_decay=0.5)
        for i in range(3):
            for j, param in enumerate(params):
                param.grad = torch.full_like(param, float(i + j))
            optimizer.step()
        ends.append(memory)
    torch.testing.assert_close(ends[0], ends[1])


def test_parameters_that_come_to_share_memory() -> None:
    ends = []
    for module in (adamantine, torch.optim):
        first, second = nn.Parameter(torch.ones(600_000)), nn.Parameter(torch.ones(600_000))
        optimizer = module.SGD([first, second], lr=0.5, momentum=0.9)
        for i in range(4):
            if i == 2:
                second.data = first.data
            first.grad, second.grad = torch.ones(600_000), 2 * torch.ones(600_000)
            optimizer.step()
        ends.append((first.detach(), second.detach()))
    torch.testing.assert_close(ends[0], ends[1])


def test_states_that_share_memory() -> None:
    param = nn.Parameter(torch.zeros(100))
    optimizer = adamantine.Adam([param], lr=0.1)
    param.grad = torch.ones(100)
    optimizer.step()
    state = optimizer.state[param]
    state["exp_avg_sq"] = state["exp_avg"]
    optimizer.step()
    assert len(optimizer._plan._others) == 1  # the reference walks it, one write at a time
