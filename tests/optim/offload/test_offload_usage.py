"""States in main memory: checkpoints, groups, scalers, and what is refused."""

from __future__ import annotations

import copy
import gc
import io

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import BackendError, NonFiniteError, UsageError
from offload_cases import Late, assert_same, model, train


@pytest.mark.usefixtures("link")
def test_states_are_in_torchs_format_and_load_both_ways() -> None:
    net, twin, third = model(), model(), model()
    ours = adamantine.AdamW(net.parameters(), offload=True, state_dtype="int8")
    train(net, ours, 3)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    theirs = torch.optim.AdamW(twin.parameters())
    theirs.load_state_dict(saved)
    again = adamantine.AdamW(third.parameters(), offload=True)
    again.load_state_dict(theirs.state_dict())
    for optimizer in (theirs, again):
        assert list(optimizer.state) == list(optimizer.param_groups[0]["params"])
    plain = model()
    reference = adamantine.AdamW(plain.parameters())
    reference.load_state_dict(copy.deepcopy(saved))
    for net, optimizer in ((third, again), (plain, reference)):
        train(net, optimizer, 3, seed=1)
    assert_same((third, plain), (again, reference))


@pytest.mark.usefixtures("link")
def test_groups_that_come_later_copies_and_pickles_go_on() -> None:
    nets = model(), model()
    both = []
    for net, options in zip(nets, ({"offload": True}, {}), strict=True):
        first, *others = net.parameters()
        optimizer = adamantine.Adam([first], lr=1e-2, **options)
        train(net, optimizer, 2)
        optimizer.add_param_group({"params": others, "lr": 1e-3})
        train(net, optimizer, 2)
        net, optimizer = copy.deepcopy((net, optimizer))
        train(net, optimizer, 2)
        both.append((net, optimizer))
    (ours, one), (theirs, other) = both
    assert_same((ours, theirs), (one, other))


@pytest.mark.usefixtures("link")
def test_a_scaler_and_steps_that_are_left_out() -> None:
    nets = model(), model()
    both = tuple(
        adamantine.Adam(net.parameters(), max_grad_norm=0.1, skip_nonfinite=3, **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        for step in range(5):
            optimizer.zero_grad()
            inputs = torch.full((2, 8), float("inf") if step == 2 else 1.0)
            scaler.scale(net(inputs).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
    assert_same(nets, both)
    assert both[0].skipped_steps == both[1].skipped_steps > 0
    for p in nets[0].parameters():
        p.grad = torch.full_like(p, float("nan"))
    both[0].step()
    both[0].step()
    with pytest.raises(NonFiniteError, match="3 steps in a row"):
        both[0].step()
    scaled = nn.Parameter(torch.ones(3))
    optimizer = adamantine.SGD([scaled], lr=0.1, skip_nonfinite=1, offload=True)
    scaled.grad = torch.tensor([8.0, 16.0, float("inf")])
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
    with pytest.raises(NonFiniteError):
        optimizer.step()
    assert scaled.grad.tolist() == [1, 2, float("inf")]


def test_what_does_not_go_with_it(link: Late) -> None:
    net = model()
    with pytest.raises(ValueError, match="Invalid offload: 'cpu'"):
        adamantine.Adam(net.parameters(), offload="cpu")  # type: ignore[arg-type]
    optimizer = adamantine.Adam(net.parameters(), offload=True)
    with pytest.raises(UsageError, match="step_in_backward"):
        optimizer.step_in_backward(net)
    with pytest.raises(UsageError, match="cannot be shared"):
        optimizer.share_memory()
    optimizer = adamantine.Adam(net.parameters(), offload=True, differentiable=True)
    net(torch.ones(2, 8)).sum().backward()
    with pytest.raises(UsageError, match="differentiable"):
        optimizer.step()
    table = nn.Embedding(10, 4, sparse=True)
    optimizer = adamantine.SGD(table.parameters(), lr=0.1, offload=True)
    before = table.weight.clone()
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BackendError, match="dense gradients"):
        optimizer.step()
    assert torch.equal(table.weight, before)


def test_in_main_memory_there_is_nothing_to_do() -> None:
    """Without a device, parameters and their states are where they should be."""
    nets = model(), model()
    both = tuple(
        adamantine.Adam(net.parameters(), **options)
        for net, options in zip(nets, ({"offload": True}, {}), strict=True)
    )
    for net, optimizer in zip(nets, both, strict=True):
        train(net, optimizer, 3)
    assert_same(nets, both)
    assert all(
        p is h
        for p, h in zip(
            nets[0].parameters(), both[0]._offload.inner.param_groups[0]["params"], strict=True
        )
    )


@pytest.mark.usefixtures("small_buckets")
def test_the_device_holds_parameters_and_gradients_alone(link: Late) -> None:
    """What is asked for is main memory: a copy and a gradient of each parameter, and no more."""
    held: list[Tensor] = []
    like = link.host_like
    link.host_like = lambda tensor: held.append(like(tensor)) or held[-1]  # type: ignore[func-returns-value, method-assign]
    net = model()
    optimizer = adamantine.Adam(net.parameters(), offload=True)
    train(net, optimizer, 3)
    assert sum(t.numel() for t in held) == 2 * sum(p.numel() for p in net.parameters())


def test_hooks_do_not_keep_an_optimizer_alive(link: Late) -> None:
    net = model()
    optimizer = adamantine.Adam(net.parameters(), offload=True)
    train(net, optimizer, 2)
    del optimizer
    gc.collect()
    link.fetched = 0
    net(torch.ones(2, 8)).sum().backward()
    assert link.fetched == 0


def test_schedule_free_parameters_change_the_mode(link: Late) -> None:
    """Which writes to them where they are, from states that are elsewhere."""
    nets = model(), model()
    a = adamantine.AdamWScheduleFree(nets[0].parameters(), offload=True)
    b = adamantine.AdamWScheduleFree(nets[1].parameters())
    for seed in range(3):
        for net, optimizer in zip(nets, (a, b), strict=True):
            train(net, optimizer, 3, seed)
            link.finish()
            optimizer.eval()
        assert_same(nets, (a, b))
        a.train()
        b.train()
