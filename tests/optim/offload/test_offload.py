"""With states in main memory, steps give the bits that they give without."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import BackendError, StateError
from cases import ONE_BY_ONE, Case
from offload_cases import Late, assert_same, model, states, train


@pytest.mark.usefixtures("link", "small_buckets")
@pytest.mark.parametrize("case", ONE_BY_ONE, ids=str)
def test_every_optimizer_gets_the_bits_of_the_plain_one(case: Case) -> None:
    if case.settings.get("differentiable"):
        pytest.skip("refused")
    nets = model(), model()
    both = tuple(
        case.ours(net.parameters(), **case.settings, **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 4)
    assert_same(nets, both)


OPTIONS: list[dict[str, Any]] = [
    {"max_grad_norm": 0.05},
    {"skip_nonfinite": True},
    {"zero_grad": True},
    {"zero_grad": "zeros"},
    {"collect_stats": 2},
    {"state_dtype": "int8"},
    {"state_dtype": "bfloat16", "rounding_seed": 3},
    {"max_grad_norm": 0.05, "state_dtype": "int8", "cautious": True, "collect_stats": True},
]


@pytest.mark.usefixtures("link", "small_buckets")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    nets = model(), model()
    both = tuple(
        adamantine.AdamW(net.parameters(), lr=1e-2, **options, **more)
        for net, more in zip(nets, ({"offload": True}, {}), strict=True)
    )
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 10) for o in both]
    for _ in range(6):
        for net, optimizer, schedule in zip(nets, both, schedules, strict=True):
            random = torch.Generator().manual_seed(schedule.last_epoch)
            for _ in range(2):  # gradients add up
                net(torch.randn(16, 8, generator=random)).square().mean().backward()
            optimizer.step()
            schedule.step()
            if "zero_grad" not in options:
                optimizer.zero_grad()
    assert_same(nets, both)
    # Sums of several buckets are added up in another order.
    if both[1].grad_norm is not None:
        assert both[0].grad_norm == pytest.approx(both[1].grad_norm, rel=1e-14)
    if "collect_stats" in options:
        for ours, theirs in zip(both[0].stats(), both[1].stats(), strict=True):
            assert ours.clipped == pytest.approx(theirs.clipped, rel=1e-14)
            assert vars(replace(ours, clipped=1.0)) == vars(replace(theirs, clipped=1.0))
    if "zero_grad" in options:
        for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            assert ours.grad is None or not ours.grad.any()


@pytest.mark.usefixtures("link", "small_buckets")
def test_three_hundred_tensors_with_all_options_at_once() -> None:
    torch.manual_seed(0)
    start = [torch.randn(7 + n % 50) for n in range(300)]
    both = []
    for more in ({"offload": True}, {}):
        params = [nn.Parameter(t.clone()) for t in start]
        groups = [{"params": params[:100], "lr": 1e-2}, {"params": params[100:], "weight_decay": 0}]
        optimizer = adamantine.AdamW(
            groups, max_grad_norm=1.0, skip_nonfinite=True, state_dtype="int8", cautious=True,
            collect_stats=2, zero_grad=True, **more,
        )  # fmt: skip
        for step in range(6):
            for n, param in enumerate(params):
                if (n + step) % 7:
                    param.grad = torch.sin(param.detach() * (step + 1))
            if step == 3:
                params[5].grad = torch.full_like(params[5], float("inf"))
            optimizer.step()
        both.append((params, optimizer))
    (ours, one), (theirs, other) = both
    assert all(map(torch.equal, ours, theirs))
    assert all(map(torch.equal, states(one), states(other)))
    assert one.skipped_steps == other.skipped_steps == 1
    assert len(one.stats()) == len(other.stats())


@pytest.mark.usefixtures("small_buckets")
def test_each_gradient_travels_once_and_while_backward_runs(link: Late) -> None:
    net = model()
    optimizer = adamantine.Adam(net.parameters(), offload="early")
    train(net, optimizer, 1)  # hooks are there from the first step on
    count = len(list(net.parameters()))
    link.fetched = 0
    optimizer.zero_grad()
    net(torch.ones(2, 8)).sum().backward()
    assert link.fetched == count
    optimizer.step()
    assert link.fetched == count


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.mul_(0.5),
        lambda p: p.copy_(torch.ones_like(p)),
        lambda p: setattr(p, "data", torch.full_like(p, 0.25)),
    ],
    ids=["in place", "loaded", "data"],
)
def test_whoever_writes_to_a_parameter_is_not_overwritten(write: Callable[[Tensor], Any]) -> None:
    nets = model(), model()
    both = tuple(
        adamantine.SGD(net.parameters(), lr=0.1, momentum=0.9, **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 2)
        with torch.no_grad():
            write(next(net.parameters()))
        train(net, optimizer, 2, seed=1)
    assert_same(nets, both)


@pytest.mark.usefixtures("link", "small_buckets")
def test_early_gradients_give_the_same() -> None:
    nets = model(), model()
    both = tuple(
        adamantine.AdamW(net.parameters(), max_grad_norm=0.1, **options)
        for net, options in zip(nets, ({"offload": "early"}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 3)
        net(torch.ones(2, 8)).sum().backward()
        net(torch.ones(2, 8)).sum().backward()  # adds up
        for param in net.parameters():
            param.grad.mul_(0.5)  # type: ignore[union-attr]
        first = next(net.parameters())
        first.grad = first.grad.clone()  # type: ignore[union-attr]
        optimizer.step()
    assert_same(nets, both)


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.grad.data.mul_(0.5),  # as all_reduce does: autograd does not count it
        lambda p: torch._amp_foreach_non_finite_check_and_unscale_(
            [p.grad], torch.zeros(()), torch.tensor(0.5)
        ),
        lambda p: setattr(p.grad, "data", p.grad * 0.5),
    ],
    ids=["data", "unscaled", "replaced"],
)
def test_gradients_count_as_they_are_when_the_step_begins(write: Callable[[Any], Any]) -> None:
    nets = model(), model()
    both = tuple(
        adamantine.SGD(net.parameters(), lr=0.1, **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 1)
        net(torch.ones(2, 8)).sum().backward()
        for param in net.parameters():
            write(param)
        optimizer.step()
    assert_same(nets, both)


@pytest.mark.usefixtures("link")
def test_a_scaler_that_unscales_first() -> None:
    nets = model(), model()
    both = tuple(
        adamantine.SGD(net.parameters(), lr=0.1, max_grad_norm=0.1, **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(2, 8)).sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    assert_same(nets, both)


def test_a_step_that_fails_leaves_nothing_that_was_never_fetched(link: Late) -> None:
    param = nn.Parameter(torch.ones(3))
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = adamantine.SGD([param, *table.parameters()], lr=0.1, offload=True)
    param.grad = torch.ones(3)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(BackendError):
        optimizer.step()
    table.weight.grad = None
    fetch = link.fetch

    def fails(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    link.fetch = fails  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step()
    link.fetch = fetch  # type: ignore[method-assign]
    optimizer.step()
    torch.testing.assert_close(param.detach(), torch.full((3,), 0.9))


@pytest.mark.usefixtures("link")
def test_a_parameter_that_no_longer_fits_its_copy_is_told() -> None:
    net = model()
    optimizer = adamantine.Adam(net.parameters(), offload=True)
    train(net, optimizer, 1)
    net.double()
    net(torch.ones(2, 8, dtype=torch.float64)).sum().backward()
    with pytest.raises(StateError, match=r"float64 of shape \(40, 8\)"):
        optimizer.step()


def test_ctrl_c_comes_before_a_step_or_after_it(link: Late) -> None:
    """Between the update and the way back, parameters and states would part."""
    nets = model(), model()
    ours = adamantine.Adam(nets[0].parameters(), offload=True)
    theirs = adamantine.Adam(nets[1].parameters())
    train(nets[0], ours, 1)
    train(nets[1], theirs, 2)
    send = link.send

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return send(*given)

    link.send = interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        random = torch.Generator().manual_seed(0)
        torch.randn(16, 8, generator=random)
        ours.zero_grad()
        nets[0](torch.randn(16, 8, generator=random)).square().mean().backward()
        with pytest.raises(KeyboardInterrupt):
            ours.step()
    finally:
        signal.signal(signal.SIGINT, before)
    assert_same(nets, (ours, theirs))


@pytest.mark.usefixtures("link")
def test_what_was_written_while_there_was_no_gradient_counts() -> None:
    nets = model(), model()
    both = tuple(
        adamantine.Adam(net.parameters(), **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 2)
        first = next(net.parameters())
        with torch.no_grad():
            first.mul_(0.5)
        first.grad = None
        optimizer.step()
        train(net, optimizer, 2, seed=1)
    assert_same(nets, both)


@pytest.mark.usefixtures("link")
def test_gradients_that_were_changed_or_replaced_count_as_they_are() -> None:
    nets = model(), model()
    both = tuple(
        adamantine.Adam(net.parameters(), **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 1)
        optimizer.zero_grad()
        net(torch.ones(2, 8)).sum().backward()
        first, second, third, *_ = net.parameters()
        first.grad.mul_(3)
        second.grad = torch.ones_like(second)
        third.grad = None
        optimizer.step()
        optimizer.zero_grad()
        net(torch.ones(2, 8)).sum().backward()
        optimizer.zero_grad()  # forgotten
        net(-torch.ones(2, 8)).sum().backward()
        optimizer.step()
    assert_same(nets, both)


@pytest.mark.usefixtures("link", "small_buckets")
@pytest.mark.parametrize("master", ["float32", "24bit"])
def test_masters_of_16_bits_are_in_main_memory_too(master: str) -> None:
    def step(params: list[Tensor], optimizer: torch.optim.Optimizer, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        for param in params:
            param.grad = torch.randn(param.shape, generator=random).bfloat16()
        optimizer.step()

    nets = model().bfloat16(), model().bfloat16()
    both = tuple(
        adamantine.AdamW(net.parameters(), master=master, state_dtype="int8", **more)
        for net, more in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        for seed in range(3):
            step(list(net.parameters()), optimizer, seed)
            with torch.no_grad():
                net[0].weight.clamp_(-0.1, 0.1)
    assert_same(nets, both)
    again = model(1).bfloat16()
    resumed = adamantine.AdamW(again.parameters(), master=master, state_dtype="int8", offload=True)
    resumed.load_state_dict(copy.deepcopy(both[1].state_dict(compact=True)))
    again.load_state_dict(nets[1].state_dict())
    for net, optimizer in ((again, resumed), (nets[1], both[1])):
        step(list(net.parameters()), optimizer, 9)
    assert_same((again, nets[1]), (resumed, both[1]))
