"""What every process of ``test_sharded.py`` checks, with all others; each a function of a mesh."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.distributed.tensor import (
    DeviceMesh,
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
    init_device_mesh,
)

import adamantine
from adamantine.errors import BackendError, UsageError
from adamantine.optim.by_name import OPTIMIZERS
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

OF_WHOLE_MATRICES = "adafactor", "muon", "soap"
"""They take no sharded matrices: :func:`adafactor_takes_vectors_alone` and the next one."""

ALL = [name for name in OPTIMIZERS if name not in OF_WHOLE_MATRICES]

CONVERSIONS = {
    *("aten::to", "aten::item", "aten::_local_scalar_dense", "aten::detach_", "aten::empty"),
    *("aten::lift_fresh", "aten::resolve_neg", "aten::resolve_conj"),
}
"""Of the numbers that are added up, to Python and back."""


def every_optimizer_follows_one_process(mesh: Any) -> None:
    """With clipping, and a schedule."""
    for name in ALL:
        net = network()
        pair = net, sharded(net, mesh)
        optimizers = [
            OPTIMIZERS[name](each.named_parameters(), lr=1e-2, max_grad_norm=0.3) for each in pair
        ]
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(each, 30) for each in optimizers]
        for step in range(30):
            for each, optimizer, schedule in zip(pair, optimizers, schedules, strict=True):
                backward(each, step)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
        plain, spread_out = optimizers
        assert math.isclose(plain.grad_norm, spread_out.grad_norm, rel_tol=1e-4), name
        assert_same(list(pair[1].parameters()), list(pair[0].parameters()), 1e-5, 1e-6)
        for p, other in zip(*(list(each.parameters()) for each in pair), strict=True):
            for key, value in plain.state[p].items():
                given = spread_out.state[other][key]
                assert isinstance(given, DTensor) == (value.dim() > 0 or p.dim() == 0)
                if isinstance(given, DTensor):
                    assert given.placements == other.placements
                assert_same([given], [value], 1e-4, 1e-6)


def adafactor_takes_vectors_alone(mesh: Any) -> None:
    for shapes in ([(9,), (1,)], [(9,), (4, 3)]):
        plain = parameters(*shapes)
        others = spread(plain, mesh, [Shard(0)])
        pair = [OPTIMIZERS["adafactor"](params, lr=1e-2) for params in (plain, others)]
        for step in range(3):
            give_gradients(plain, step)
            give_gradients(others, step)
            try:
                for optimizer in pair:
                    optimizer.step()
            except BackendError as error:
                assert "keeps 'row_var' and 'col_var' of a whole matrix" in str(error)  # noqa: PT017
                assert len(shapes[1]) > 1
                break
            assert_same(others, plain)


def matrices_are_refused(mesh: Any) -> None:
    for name, words in (
        ("muon", "Muon takes whole matrices, and .* is a DTensor"),
        ("soap", "keeps 'L' and 'R' and 'Q_L' and 'Q_R' of a whole matrix"),
    ):
        params = spread(parameters((4, 3)), mesh, [Shard(0)])
        optimizer = OPTIMIZERS[name](params, lr=1e-2)
        give_gradients(params, 0)
        with pytest.raises(BackendError, match=words):
            optimizer.step()


def torchs_optimizers_go_the_same_way(mesh: Any) -> None:
    """Under FSDP2 with torch's own clipping, for those that torch has."""
    for name in ALL:
        theirs = getattr(torch.optim, OPTIMIZERS[name].__name__, None)
        if theirs is None or theirs is torch.optim.Rprop:
            continue  # torch's Rprop calls what DTensors do not have
        nets = [sharded(network(), mesh) for _ in range(2)]
        ours = OPTIMIZERS[name](nets[0].parameters(), lr=1e-2, max_grad_norm=0.3)
        other = theirs(nets[1].parameters(), lr=1e-2, foreach=True)
        for step in range(6):
            for net in nets:
                backward(net, step)
            norm = nn.utils.clip_grad_norm_(nets[1].parameters(), 0.3)
            other.step()
            ours.step()
            assert math.isclose(ours.grad_norm, whole(norm), rel_tol=1e-5), name
            for optimizer in (ours, other):
                optimizer.zero_grad()
        expected = [whole(p.detach()) for p in nets[1].parameters()]
        assert_same(list(nets[0].parameters()), expected, 1e-5, 2e-6)


def a_step_runs_no_operator_and_one_collective(mesh: Any) -> None:
    for options, collectives in (
        ({}, 0),
        ({"max_grad_norm": 1.0}, 1),
        ({"cautious": True}, 1),
        ({"cautious": True, "max_grad_norm": 1.0, "collect_stats": True}, 3),
    ):
        net = sharded(network(), mesh)
        optimizer = adamantine.AdamW(net.parameters(), backend="cpu", **options)
        for step in range(2):
            backward(net, step)
            optimizer.step()
            optimizer.zero_grad()
        backward(net, 2)
        with (
            mock.patch.object(
                torch.distributed, "all_reduce", wraps=torch.distributed.all_reduce
            ) as reduce,
            torch.profiler.profile() as profile,
        ):
            optimizer.step()
        assert reduce.call_count == collectives
        operators = {event.key for event in profile.key_averages() if event.key[:6] == "aten::"}
        assert operators <= (CONVERSIONS if collectives else set()), operators


def kernels_do_it(mesh: Any) -> None:
    """``backend="cpu"`` refuses whatever kernels cannot do."""
    net = sharded(network(), mesh)
    optimizer = adamantine.AdamW(net.parameters(), backend="cpu")
    backward(net, 0)
    optimizer.step()


LAYOUTS = [[Shard(0)], [Shard(1)], [Replicate()]]


def follows(plain: list[Any], mesh: Any, placements: Any, name: str, **options: Any) -> None:
    """The same gradients for whole parameters and DTensors, a few steps."""
    others = spread(plain, mesh, placements)
    pair = [OPTIMIZERS[name](params, lr=1e-2, **options) for params in (plain, others)]
    for step in range(4):
        for params, optimizer in zip((plain, others), pair, strict=True):
            give_gradients(params, step)
            optimizer.step()
    assert_same(others, plain)


def placements_of_tensor_parallelism(mesh: Any) -> None:
    for placements in LAYOUTS:
        for backend in ("cpu", "lists", "reference"):
            options: dict[str, Any] = {"backend": backend, "max_grad_norm": 1.0}
            follows(parameters((6, 5), (3, 4)), mesh, placements, "adamw", **options)


def sums_are_of_the_whole(mesh: Any) -> None:
    """Sums that decide how far a tensor goes, or all; each process adds up what it has."""
    settings = {name: {"lr": 0.1} for name in ("lamb", "lars", "marsadamw")} | {
        "prodigy": {"d0": 0.05}
    }
    for placements in LAYOUTS:
        for backend in ("cpu", "lists", "reference"):
            for name, given in settings.items():
                plain = parameters((6, 5), (3, 4))
                others = spread(plain, mesh, placements)
                pair = [
                    OPTIMIZERS[name](params, backend=backend, **given) for params in (plain, others)
                ]
                for step in range(4):
                    for params, optimizer in zip((plain, others), pair, strict=True):
                        give_gradients(params, step)
                        optimizer.step()
                assert_same(others, plain, 1e-6, 1e-7)


def meshes_of_two_dimensions(mesh: Any) -> None:
    other = init_device_mesh("cpu", (mesh.size() // 2, 2), mesh_dim_names=("a", "b"))
    for placements in (
        [Replicate(), Shard(0)],
        [Shard(0), Replicate()],
        [Shard(1), Shard(0)],
        [Shard(0), Shard(0)],
        [Replicate(), Replicate()],
    ):
        follows(
            parameters((6, 5), (3, 4)), other, placements, "adamw", max_grad_norm=1.0, cautious=True
        )


def caution_counts_the_whole_tensor(mesh: Any) -> None:
    for placements in LAYOUTS:
        for backend in ("auto", "lists", "reference"):
            for state_dtype in (None, "bfloat16"):
                plain = parameters((6, 5), (1, 4), (3, 4))
                options: dict[str, Any] = {"backend": backend, "state_dtype": state_dtype}
                if state_dtype is not None and backend != "auto":
                    continue
                follows(plain, mesh, placements, "adamw", cautious=True, **options)


def a_partial_gradient_is_refused(mesh: Any) -> None:
    net = nn.ParameterDict({"p": spread(parameters((4, 3)), mesh, [Replicate()])[0]})
    (param,) = net.values()
    before = whole(param.detach()).clone()
    optimizer = adamantine.AdamW(net.named_parameters())
    param.grad = DTensor.from_local(torch.ones(4, 3), mesh, [Partial()])
    with pytest.raises(BackendError, match=r"'p' has .*Partial.*redistribute"):
        optimizer.step()
    assert torch.equal(whole(param.detach()), before)
    param.grad = param.grad.redistribute(placements=param.placements)
    optimizer.step()
    assert not torch.equal(whole(param.detach()), before)


def what_is_no_gradient_for_a_dtensor_is_refused(mesh: Any) -> None:
    (param,) = spread(parameters((4, 3)), mesh, [Shard(0)])
    optimizer = adamantine.AdamW([param])
    partial = DTensor.from_local(torch.ones(4, 3), mesh, [Partial()])
    with pytest.raises(BackendError, match="still to be added up"):
        adamantine.AdamW([nn.Parameter(partial)]).step()
    give_gradients([param], 0)
    optimizer.step()
    other = init_device_mesh("cpu", (1, mesh.size()))
    param.grad = distribute_tensor(torch.ones(4, 3), other, [Replicate(), Shard(0)])
    with pytest.raises(BackendError, match=r"parameter 0 of group 0 .* has a gradient of shape"):
        optimizer.step()


def gradients_of_other_placements_are_redistributed(mesh: Any) -> None:
    plain = parameters((6, 5))
    others = spread(plain, mesh, [Shard(0)])
    pair = [adamantine.AdamW(params, max_grad_norm=1.0) for params in (plain, others)]
    for step in range(3):
        give_gradients(plain, step)
        for placement in (Replicate(), Shard(1))[step % 2 :]:
            others[0].grad = distribute_tensor(plain[0].grad.clone(), mesh, [placement])
        for optimizer in pair:
            optimizer.step()
    assert_same(others, plain)


def all_leave_out_a_step_that_one_cannot_do(mesh: Any) -> None:
    params = [*spread(parameters((6, 5)), mesh, [Shard(0)]), *parameters((2,))]
    before = [whole(p.detach()).clone() for p in params]
    optimizer = adamantine.AdamW(params, skip_nonfinite=3)
    give_gradients(params, 0)
    if mesh.get_rank() == 0:
        params[0].grad.to_local()[0, 0] = math.nan
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert all(map(torch.equal, map(whole, params), before))
    for _ in range(2):
        if optimizer.skipped_steps < 2:
            optimizer.step()
        else:
            with pytest.raises(RuntimeError, match="parameter 0 of group 0"):
                optimizer.step()


def parameters_may_be_replaced_and_begin_late(mesh: Any) -> None:
    plain = parameters((6, 5), (3, 4), (7,))
    others = spread(plain, mesh, [Shard(0)])
    pair = [adamantine.AdamW(params, max_grad_norm=1.0) for params in (plain, others)]
    for step in range(6):
        for params, optimizer in zip((plain, others), pair, strict=True):
            give_gradients(params, step)
            if step < 2:
                params[1].grad = None
            if step == 4:
                params[2].grad = None
            optimizer.step()
        if step == 3:
            # As FSDP2 does where memory was given back.
            others[0]._local_tensor = others[0]._local_tensor.clone()
    assert_same(others, plain)


def momentum_begins_from_the_first_gradient(mesh: Any) -> None:
    follows(parameters((6, 5)), mesh, [Shard(0)], "sgd", momentum=0.9, dampening=0.5)
    follows(parameters((6, 5)), mesh, [Shard(0)], "sgd")


def half_precision_and_complex_numbers(mesh: Any) -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.complex64):
        follows(parameters((6, 5), (1, 3), dtype=dtype), mesh, [Shard(0)], "adamw")


def autograd_is_told(mesh: Any) -> None:
    (param,) = spread(parameters((6, 5)), mesh, [Shard(0)])
    give_gradients([param], 0)
    before = param._version
    adamantine.AdamW([param]).step()
    assert param._version > before


def states_lie_where_parameters_do_and_not_where_the_mesh_is(mesh: Any) -> None:
    """``CPUOffloadPolicy`` keeps shards in main memory, on a mesh of accelerators."""
    (param,) = spread(parameters((6, 5)), mesh, [Shard(0)])
    give_gradients([param], 0)
    optimizer = adamantine.AdamW([param], state_dtype="bfloat16")
    with mock.patch.object(type(mesh), "device_type", "meta"):
        optimizer.step()
    state = optimizer.state[param]
    assert state["exp_avg"].dtype == torch.bfloat16
    assert state["exp_avg"]._local_tensor.is_cpu
    assert whole(state["exp_avg"]).any()


def numbers_and_empty_tensors(mesh: Any) -> None:
    for backend in ("cpu", "lists", "reference"):
        options: dict[str, Any] = {"backend": backend, "cautious": True, "max_grad_norm": 0.1}
        follows(parameters((), (4,)), mesh, [Replicate()], "adamw", **options)
        follows(parameters((0, 3), (1,)), mesh, [Shard(0)], "adamw", **options)


def some_processes_may_have_nothing_to_do_with_a_tensor(mesh: Any) -> None:
    first = DeviceMesh("cpu", [0])
    (plain,), (other,) = parameters((6, 5)), parameters((2,))
    local = plain.detach().clone() if mesh.get_rank() == 0 else torch.empty(0)
    param = nn.Parameter(
        DTensor.from_local(local, first, [Replicate()], shape=(6, 5), stride=(5, 1))
    )
    optimizer = adamantine.AdamW([param, other], max_grad_norm=1e9, cautious=True)
    local = torch.ones_like(local)
    param.grad = DTensor.from_local(local, first, [Replicate()], shape=(6, 5), stride=(5, 1))
    other.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.grad_norm == math.sqrt(32 if mesh.get_rank() == 0 else 2)


def memory_is_not_shared(mesh: Any) -> None:
    optimizer = adamantine.AdamW(spread(parameters((6, 5)), mesh, [Shard(0)]))
    with pytest.raises(UsageError, match="have all of a tensor"):
        optimizer.share_memory()
