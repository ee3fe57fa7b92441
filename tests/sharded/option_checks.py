"""What an optimizer offers around its steps, on DTensors; each a function of a mesh."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard

import adamantine
from adamantine.errors import BackendError, NonFiniteError
from sharded.cases import (
    assert_same,
    backward,
    give_gradients,
    network,
    parameters,
    sharded,
    spread,
    whole,
)


def statistics_are_of_the_whole_tensor(mesh: Any) -> None:
    for backend in ("cpu", "lists", "reference"):
        for placement in (Shard(0), Shard(1), Replicate()):
            plain = parameters((6, 5), (1, 4))
            others = spread(plain, mesh, [placement])
            told = []
            for params in (plain, others):
                optimizer = adamantine.AdamW(
                    params, collect_stats=True, max_grad_norm=0.5, backend=backend
                )
                for step in range(2):
                    give_gradients(params, step)
                    optimizer.step()
                told.append(optimizer.stats())
            for one, other in zip(*told, strict=True):
                assert (one.name, one.elements) == (other.name, other.elements)
                for name in ("grad_norm", "update_norm", "param_norm", "update_ratio", "clipped"):
                    assert math.isclose(getattr(one, name), getattr(other, name), rel_tol=1e-5)
                assert one.nonfinite == other.nonfinite == 0


def statistics_count_what_is_not_finite_anywhere(mesh: Any) -> None:
    (param,) = spread(parameters((5, 4)), mesh, [Shard(0)])
    optimizer = adamantine.SGD([param], lr=0.0, collect_stats=True)
    give_gradients([param], 0)
    if mesh.get_rank() == 0:
        param.grad._local_tensor[0, :2] = math.inf
    optimizer.step()
    (found,) = optimizer.stats()
    assert found.nonfinite == 0.1
    assert found.elements == 20
    # Squares that float32 does not hold are added up again, by all.
    give_gradients([param], 0, 1e-25)
    optimizer.step()
    (found,) = optimizer.stats()
    assert 1e-25 < found.grad_norm < 1e-23


def a_scaler_unscales_and_all_skip(mesh: Any) -> None:
    plain = network()
    pair = plain, sharded(plain, mesh)
    scalers = [torch.amp.GradScaler("cpu", init_scale=256.0) for _ in pair]
    optimizers = [adamantine.AdamW(each.parameters(), max_grad_norm=0.3) for each in pair]
    for step in range(4):
        for each, scaler, optimizer in zip(pair, scalers, optimizers, strict=True):
            optimizer.zero_grad()
            scaler.scale(torch.ones(()))  # which makes the scale
            backward(each, step, scaler.get_scale())
            if step == 2:
                grad = next(each.parameters()).grad
                local = grad._local_tensor if isinstance(grad, DTensor) else grad
                if local is grad or mesh.get_rank() == 0:
                    local[0, 0] = math.inf
            scaler.step(optimizer)
            scaler.update()
        grads = [[p.grad for p in each.parameters()] for each in pair]
        if step != 2:
            assert_same(grads[1], grads[0])  # of the loss, as torch leaves them
    assert [o.skipped_steps for o in optimizers] == [1, 1]
    assert [s.get_scale() for s in scalers] == [128.0, 128.0]
    assert_same(list(pair[1].parameters()), list(pair[0].parameters()), 1e-5, 1e-6)


def gradients_may_be_left_as_zeros(mesh: Any) -> None:
    for backend in ("cpu", "lists", "reference"):
        plain = parameters((6, 5), (1, 4))
        others = spread(plain, mesh, [Shard(0)])
        for params in (plain, others):
            optimizer = adamantine.AdamW(params, zero_grad="zeros", backend=backend)
            for step in range(3):
                give_gradients(params, step)
                optimizer.step()
                assert all(not whole(p.grad).any() for p in params)
        assert_same(others, plain)


def names_groups_and_checks_work(mesh: Any) -> None:
    plain = network()
    pair = plain, sharded(plain, mesh)
    optimizers = [adamantine.AdamW(adamantine.no_decay(each), weight_decay=0.1) for each in pair]
    for each, optimizer in zip(pair, optimizers, strict=True):
        adamantine.check(each, optimizer)
        backward(each, 0)
        optimizer.step()
        optimizer.zero_grad()
    names = [[group["param_names"] for group in o.param_groups] for o in optimizers]
    assert names[0] == names[1]
    assert_same(list(pair[1].parameters()), list(pair[0].parameters()))
    # By name into other groups.
    later = adamantine.AdamW(pair[1].named_parameters())
    later.load_state_dict(adamantine.regroup(optimizers[1].state_dict(), later))
    for param in pair[1].parameters():
        assert_same(
            [later.state[param]["exp_avg"]], [whole(optimizers[1].state[param]["exp_avg"])], 0, 0
        )


def fsdp_steps_in_backward(mesh: Any) -> None:
    """FSDP2 calls the hooks when a gradient is complete; of the first layer, at the end."""
    for apart in (False, True):
        plain = network()
        pair = plain, copy.deepcopy(plain)
        if apart:
            for layer in (pair[1][0], pair[1][2], pair[1][3]):
                fully_shard(layer, mesh=mesh)
        fully_shard(pair[1], mesh=mesh)
        norms = []
        for each in pair:
            optimizer = adamantine.AdamW(each.parameters(), lr=1e-2, max_grad_norm=0.3)
            stepping = optimizer.step_in_backward(each, clip_by_previous_norm=True)
            for step in range(5):
                backward(each, step)
                assert all(param.grad is None for param in each.parameters())
            assert all(optimizer.state[p]["step"] == 5 for p in each.parameters())
            norms.append(stepping.previous_norm)
        assert math.isclose(*norms, rel_tol=1e-5)
        assert_same(list(pair[1].parameters()), list(plain.parameters()), 1e-5, 1e-6)


class OfDTensors(nn.Module):
    def __init__(self, params: list[Any]) -> None:
        super().__init__()
        self.first, self.second = params

    def forward(self) -> Any:
        return self.first.square().sum() + 3 * self.second.sin().sum()


def dtensors_are_stepped_in_backward(mesh: Any) -> None:
    """Of tensor parallelism, say; clipped by the norm of the step before, which all know."""
    for placement in (Shard(0), Shard(1), Replicate()):
        plain = parameters((6, 5), (1, 4))
        pair = [OfDTensors(plain), OfDTensors(spread(plain, mesh, [placement]))]
        found = []
        for each in pair:
            optimizer = adamantine.AdamW(each.parameters(), lr=1e-2, max_grad_norm=0.5)
            stepping = optimizer.step_in_backward(each, clip_by_previous_norm=True)
            for _ in range(4):
                loss = each()
                loss = whole(loss)
                loss.backward()
                assert each.first.grad is None
            found.append(stepping.previous_norm)
        assert math.isclose(*found, rel_tol=1e-5)
        assert_same(list(pair[1].parameters()), list(pair[0].parameters()), 1e-5, 1e-6)


def sparse_gradients_are_refused(mesh: Any) -> None:
    (param,) = spread(parameters((6, 5)), mesh, [Replicate()])
    optimizer = adamantine.SGD([param], lr=0.1)
    rows = torch.zeros(6, 5).to_sparse()
    param.grad = DTensor.from_local(torch.zeros(6, 5), mesh, [Replicate()])
    param.grad._local_tensor = rows
    with pytest.raises(BackendError, match="sparse=False"):
        optimizer.step()
    # A group for sparse gradients takes dense ones of DTensors.
    lazy = adamantine.SGD([param], lr=0.1, sparse="lazy")
    give_gradients([param], 0)
    lazy.step()


def nothing_that_autograd_records_is_taken_apart(mesh: Any) -> None:
    plain = parameters((6, 5))
    others = spread(plain, mesh, [Shard(0)])
    for params in (plain, others):
        optimizer = adamantine.SGD([p.detach().clone() for p in params], differentiable=True)
        (param,) = optimizer.param_groups[0]["params"]
        give_gradients([param], 0)
        optimizer.step()
        params[:] = [param]
    assert_same(others, plain)


def ordinary_gradients_that_are_not_finite_make_all_skip(mesh: Any) -> None:
    """Or the shards of one tensor would be of different steps."""
    for found_inf in (False, True):
        (shards,) = spread(parameters((6, 5)), mesh, [Shard(0)])
        ordinary = nn.Parameter(torch.ones(3))
        before = whole(shards.detach()).clone()
        optimizer = adamantine.Adam(
            [shards, ordinary], max_grad_norm=1.0, skip_nonfinite=2, cautious=True
        )
        shards.grad = shards.detach().clone()
        ordinary.grad = torch.ones(3)
        alone = mesh.get_rank() == 0
        if found_inf:
            optimizer.grad_scale = torch.tensor(2.0)
            optimizer.found_inf = torch.tensor(float(alone))
        elif alone:
            ordinary.grad[0] = math.nan
        optimizer.step()
        assert optimizer.skipped_steps == 1
        assert torch.equal(whole(shards.detach()), before)
        with pytest.raises(NonFiniteError):
            optimizer.step()


def schedule_free_changes_its_mode(mesh: Any) -> None:
    for dtype, options in ((torch.float32, {}), (torch.bfloat16, {"master": "float32"})):
        net = network(dtype)
        pair = net, sharded(net, mesh)
        optimizers = [
            adamantine.AdamWScheduleFree(each.parameters(), lr=1e-2, **options) for each in pair
        ]
        for step in range(6):
            for each, optimizer in zip(pair, optimizers, strict=True):
                give_gradients(list(each.parameters()), step)
                optimizer.step()
                if step % 2:
                    optimizer.eval()
            assert_same(list(pair[1].parameters()), list(pair[0].parameters()))
            for optimizer in optimizers:
                optimizer.train()
