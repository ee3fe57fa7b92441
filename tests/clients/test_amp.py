"""``GradScaler`` and autocast: scaled, unscaled by hand and skipped steps, as torch's classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import adamantine
from torch_database import SHARED, both

INFINITE_AT = (3, 7)


def network_for(cls: type[torch.optim.Optimizer]) -> torch.nn.Module:
    torch.manual_seed(0)
    bias = cls.__name__ != "Muon"  # torch's takes matrices alone
    first, last = torch.nn.Linear(6, 9, bias=bias), torch.nn.Linear(9, 1, bias=bias)
    return torch.nn.Sequential(first, torch.nn.Tanh(), last)


def train(cls: type[torch.optim.Optimizer], unscale: bool, **settings: object):
    model = network_for(cls)
    optimizer = cls(model.parameters(), **settings)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    trace, skipped = [], []
    for step, inputs in enumerate(torch.randn(12, 10, 6)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(inputs).square().mean()
        scaler.scale(loss).backward()
        if step in INFINITE_AT:
            next(iter(model.parameters())).grad[0, 0] = torch.inf
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.3)
        before = [p.detach().clone() for p in model.parameters()]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if all(map(torch.equal, before, model.parameters())):
            skipped.append(step)
        trace.append((loss.item(), scaler.get_scale()))
    return trace, skipped, [p.detach() for p in model.parameters()], optimizer.state_dict()["state"]


@pytest.mark.parametrize("unscale", [False, True], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("name", SHARED)
def test_scaled_steps_as_torch(name: str, unscale: bool) -> None:
    ours, theirs = (train(cls, unscale) for cls in both(name))
    assert ours[1] == theirs[1] == list(INFINITE_AT)
    assert [scale for _, scale in ours[0]] == [scale for _, scale in theirs[0]]
    # Muon's iteration is in bfloat16, where a last digit is a step's hundredth.
    kept = {"rtol": 1e-2, "atol": 3e-4} if name == "Muon" else {"rtol": 1e-4, "atol": 1e-6}
    for mine, other in zip(ours[2:], theirs[2:], strict=True):
        torch.testing.assert_close(mine, other, **kept)


FUSED = ["Adam", "AdamW", "SGD", "Adagrad"]


@pytest.mark.parametrize("name", FUSED)
def test_scaled_steps_as_torchs_fused(name: str) -> None:
    ours, theirs = both(name)
    mine, other = train(ours, False), train(theirs, False, fused=True)
    assert mine[1] == other[1] == list(INFINITE_AT)
    assert [scale for _, scale in mine[0]] == [scale for _, scale in other[0]]
    torch.testing.assert_close(mine[2:], other[2:], rtol=1e-4, atol=1e-6)


def test_the_step_unscales_and_counts_what_the_scaler_leaves_out() -> None:
    param = torch.nn.Parameter(torch.ones(4))
    optimizer = adamantine.SGD([param], lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for grad in (2.0, torch.inf, 2.0):
        scaler.scale(param.sum())  # a scaler has its scale from the first loss on
        param.grad = torch.full((4,), grad * scaler.get_scale())
        scaler.step(optimizer)
        assert torch.equal(param.grad, torch.full((4,), grad))
        scaler.update()
    assert torch.equal(param.detach(), torch.full((4,), -1.0))
    assert (optimizer.skipped_steps, optimizer.grad_norm) == (1, None)
    assert not {"grad_scale", "found_inf"} & vars(optimizer).keys()


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("unscale", [False, True])
def test_gradients_after_the_step_are_torchs(
    unscale: bool, infinite: bool, fused: bool | None
) -> None:
    """Unscaled, as programs that log their norm there expect; also after steps left out."""
    found = []
    for cls in both("AdamW"):
        dense = torch.nn.Parameter(torch.ones(4))
        bfloat = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        optimizer = cls([dense, bfloat, torch.nn.Parameter(torch.ones(2))], fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale((dense**2).sum() + (3 * bfloat).float().sum()).backward()
        if infinite:
            dense.grad[0] = torch.inf
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        found.append((dense.grad, bfloat.grad))
    assert all(map(torch.equal, *found))


def test_sparse_gradients_after_the_step_are_unscaled_too() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = adamantine.SGD(table.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(table(torch.tensor([1, 1, 3])).sum()).backward()
    scaler.step(optimizer)
    wanted = torch.tensor([0.0, 2.0, 0.0, 1.0, 0.0])[:, None].expand(5, 2)
    assert torch.equal(table.weight.grad.to_dense(), wanted)


@pytest.mark.parametrize("zero_grad", [False, True, "zeros"])
def test_only_gradients_that_stay_are_unscaled(zero_grad: Any) -> None:
    param = torch.nn.Parameter(torch.ones(4))
    optimizer = adamantine.SGD([param], zero_grad=zero_grad)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(param.sum()).backward()
    with Seen() as seen:
        scaler.step(optimizer)
    left = None if zero_grad is True else torch.full((4,), 0.0 if zero_grad else 1.0)
    assert param.grad is None if left is None else torch.equal(param.grad, left)
    assert ("_foreach_mul_" in seen.names) is (zero_grad is False)


class Seen(TorchDispatchMode):
    """Notes the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_the_scaler_unscales_where_it_is_told_to() -> None:
    """As trainers need it that clip gradients by themselves."""
    param = torch.nn.Parameter(torch.ones(4))
    optimizer = adamantine.SGD([param], lr=0.5)
    optimizer._step_supports_amp_scaling = False
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(param.sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(param.grad, torch.ones(4))
    assert torch.equal(param.detach(), torch.full((4,), 0.5))


@pytest.mark.parametrize("name", SHARED)
def test_clipping_is_of_unscaled_gradients(name: str) -> None:
    ours, theirs = both(name)
    results, norms = [], []
    for cls, options in ((ours, {"max_grad_norm": 0.1}), (theirs, {})):
        model = network_for(cls)
        optimizer = cls(model.parameters(), **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=1000.0)
        for inputs in torch.randn(12, 10, 6):
            optimizer.zero_grad()
            scaler.scale(model(inputs).square().mean()).backward()
            if not options:
                scaler.unscale_(optimizer)
                norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1).item())
            scaler.step(optimizer)
            scaler.update()
            if options:
                norms.append(optimizer.grad_norm)
        results.append([p.detach() for p in model.parameters()])
    assert norms[:12] == pytest.approx(norms[12:], rel=1e-3)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_float16_parameters_need_no_copy() -> None:
    """GradScaler takes their gradients only where the step unscales them."""
    results = []
    for cls, options in ((adamantine.AdamW, {}), (torch.optim.AdamW, {"fused": True})):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.randn(64, dtype=torch.float16))
        optimizer = cls([param], lr=0.05, **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        for _ in range(5):
            optimizer.zero_grad()
            scaler.scale((param.float() ** 2).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append(param.detach())
    torch.testing.assert_close(*results, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("hint", ["fused", "foreach"])
def test_hints_keep_the_scaler_working(hint: str) -> None:
    # With fused=True torch's class takes the scale and the infinity into its own step.
    plain, hinted = train(adamantine.AdamW, True), train(adamantine.AdamW, True, **{hint: True})
    assert plain[:2] == hinted[:2]
    assert all(map(torch.equal, plain[2], hinted[2]))
    theirs = train(torch.optim.AdamW, True, fused=True)
    assert hinted[1] == theirs[1]
    torch.testing.assert_close(hinted[2], theirs[2], rtol=1e-4, atol=1e-6)
