"""States in main memory: a second piece of it stands for the accelerator's.

Copies here are done as late as they may be, so that whatever is read before it was waited for is
wrong.
"""

from __future__ import annotations

import copy
import gc
import io
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends import links
from adamantine.errors import BackendError, NonFiniteError, StateError, UsageError
from adamantine.optim import offload
from cases import CASES, Case


class Late:
    """A link whose copies are done when they are waited for; garbage is there until then."""

    def __init__(self) -> None:
        self.begun: list[tuple[Tensor, Tensor]] = []
        self.sent: list[Callable[[], None]] = []
        self.fetched = 0

    def host_like(self, tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, 123.0, requires_grad=False)

    def _later(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        mine = list(zip(sources, targets, strict=True))
        self.begun += mine

        def wait() -> None:
            # In the order in which they were begun, as a stream does.
            while any(pair is own for pair in self.begun for own in mine):
                source, target = self.begun.pop(0)
                target.copy_(source)

        return wait

    def fetch(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        for target in targets:
            target.fill_(321.0)
        self.fetched += len(sources)
        # What is there now: the caller may free it.
        return self._later([source.clone() for source in sources], targets)

    def send(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Callable[[], None]:
        wait = self._later(sources, targets)
        self.sent.append(wait)
        return wait

    def finish(self) -> None:
        for wait in self.sent:
            wait()
        self.sent.clear()


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Late:
    """Parameters are on a device."""
    found = Late()
    monkeypatch.setattr(links, "link_of", lambda device: found)
    return found


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "BUCKET", 600)


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 3)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(16, 8, generator=random)
        net(inputs).square().mean().backward()
        optimizer.step()


def states(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for entry in optimizer.state_dict()["state"].values():
        yield from (value for value in entry.values() if isinstance(value, Tensor))


def assert_same(
    nets: tuple[nn.Module, nn.Module], both: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
) -> None:
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for one, other in zip(states(both[0]), states(both[1]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("link", "small_buckets")
@pytest.mark.parametrize("case", CASES, ids=str)
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
