"""What Adagrad does in its constructor, and torch's other optimizers do not."""

from __future__ import annotations

import torch

import adamantine
from contract import clones, parameters, train


def test_sums_can_be_shared_before_the_first_step() -> None:
    start = parameters(5, (2, 3))
    ends = []
    for module in (adamantine, torch.optim):
        params = clones(start)
        optimizer = module.Adagrad(params, initial_accumulator_value=0.5)
        optimizer.share_memory()
        assert all(optimizer.state[p]["sum"].is_shared() for p in params)
        train(optimizer, params, 3)
        assert all(optimizer.state[p]["sum"].is_shared() for p in params)
        ends.append(params)
    torch.testing.assert_close(*ends)


def test_a_group_may_start_from_its_own_value() -> None:
    """Torch takes the constructor's value for all groups, and says nothing."""
    params = parameters(3, 3, 3)
    groups = [{"params": params[:1], "initial_accumulator_value": 2.0}, {"params": params[1:2]}]
    optimizer = adamantine.Adagrad(groups, initial_accumulator_value=0.25)
    optimizer.add_param_group({"params": params[2:], "initial_accumulator_value": 3.0})
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    assert [float(optimizer.state[p]["sum"][0]) for p in params] == [2.0, 0.25, 3.0]
