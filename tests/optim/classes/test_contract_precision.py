"""Every row of ``cases.py`` with states below float32, and parameters of 16 bits."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from numba.core import event
from torch import Tensor

import adamantine
from adamantine.backends.codes import block_count
from adamantine.optim import RuleOptimizer
from cases import CASES, Case, rule_of
from contract import (
    clones,
    each_row,
    first_case,
    first_rule,
    in_turn,
    parameters,
    train,
    worst_error,
)

SIZES = (1, 255, 257, (37, 11), 0, 20_000)


def takes(case: Case, dtype: str) -> bool:
    """Whether the row has states, and none of them has to be exact."""
    rule = rule_of(case)
    return bool(rule.states) and not (rule.exact and dtype != "float32")


PAIRS = [pair for pair in in_turn(["bfloat16", "int8"]) if takes(*pair)]
every_pair = each_row("case, dtype", PAIRS, lambda case, dtype: first_rule(case))
"""Rows with what their states are kept in; slow are all but one of each optimizer's first rule."""


def trained(
    case: Case,
    dtype: Any,
    *,
    steps: int = 6,
    backend: str = "auto",
    start: Any = None,
    **options: Any,
) -> tuple[list[torch.nn.Parameter], RuleOptimizer]:
    params = clones(start or parameters(*SIZES))
    optimizer = case.ours(params, **case.settings, state_dtype=dtype, backend=backend, **options)
    train(optimizer, params, steps)
    return params, optimizer


def tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [
        v
        for state in optimizer.state.values()
        for _, v in sorted(state.items())
        if isinstance(v, Tensor)
    ]


def same_bits(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@every_pair
def test_kernels_and_reference_agree(case: Case, dtype: str) -> None:
    ours, by_kernels = trained(case, dtype, backend=case.by_kernels)
    theirs, by_torch = trained(case, dtype, backend="reference")
    lr = by_kernels.param_groups[0]["lr"]
    # Where the last bit of a float32 turns a coin, one code is another: in few elements.
    apart = [
        float((a != b).float().mean())
        for a, b in zip(tensors(by_kernels), tensors(by_torch), strict=True)
        if a.numel() > 1000
    ]
    assert max(apart) < 2e-3
    differences = torch.cat(
        [(a - b).detach().abs().flatten() for a, b in zip(ours, theirs, strict=True)]
    )
    assert float((differences > 1e-5 + lr * 1e-3).float().mean()) < 2e-3


@every_pair
def test_states_are_as_small_as_they_should_be(case: Case, dtype: str) -> None:
    _, optimizer = trained(case, dtype, steps=1)
    size = {"bfloat16": 2, "int8": 1}[dtype]
    for param, state in optimizer.state.items():
        rule = optimizer.family.rule_of(optimizer.param_groups[0], param.shape)
        held = sum(v.nbytes for v in state.values())
        blocks = block_count(param.numel()) if dtype == "int8" else 0
        rounded = len(rule.states) - len(rule.shapes)
        exact = sum(4 * math.prod(rule.shape_of(name, param.shape)) for name in rule.shapes)
        counters = 4 * max(1, len(optimizer.family.counters))
        assert held == rounded * (size * param.numel() + blocks) + exact + counters


@every_pair
def test_the_portable_state_dict_is_torchs(case: Case, dtype: str) -> None:
    params, optimizer = trained(case, dtype)
    state = optimizer.state_dict()
    assert state["param_groups"][0]["state_dtype"] == dtype
    theirs = case.theirs(
        clones(params), **{k: v for k, v in case.settings.items() if k != "cautious"}
    )
    if case.theirs.__module__.startswith("torch"):
        theirs.load_state_dict(copy.deepcopy(state))
        train(theirs, theirs.param_groups[0]["params"], 1)
    full = case.ours(clones(params), **case.settings)
    full.load_state_dict(copy.deepcopy(state))
    for entry in full.state.values():
        assert all(v.dtype == torch.float32 for v in entry.values())
    again = case.ours(clones(params), **case.settings, state_dtype=dtype)
    again.load_state_dict(full.state_dict())
    for index, entry in again.state_dict()["state"].items():
        for name, value in entry.items():
            # A block whose largest element was rounded down may get the next finer grid.
            largest = float(value.abs().max()) if value.numel() else 0.0
            before = state["state"][index][name]
            torch.testing.assert_close(value, before, rtol=0, atol=2.0**-14 * largest)


@every_pair
def test_the_compact_state_dict_goes_on_with_the_same_bits(case: Case, dtype: str) -> None:
    start, optimizer = trained(case, dtype)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(compact=True), buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    params = clones(start)
    resumed = case.ours(params, **case.settings, state_dtype=dtype)
    resumed.load_state_dict(saved)
    assert same_bits(tensors(optimizer), tensors(resumed))
    train(optimizer, start, 4, seed=9)
    train(resumed, params, 4, seed=9)
    assert same_bits(start, params)
    assert same_bits(tensors(optimizer), tensors(resumed))


@every_pair
def test_the_average_path_is_float32s(case: Case, dtype: str) -> None:
    """Over many elements with the same gradients, roundings even out."""
    if case.jumps or case.settings.get("cautious"):
        pytest.skip("a sign in the update: the mean of roundings is not the rounding of the mean")
    n = 4096
    start = [torch.nn.Parameter(torch.full((n,), 0.5))]
    paths = []
    for given in (None, dtype):
        params = clones(start)
        optimizer = case.ours(params, **case.settings, **({"state_dtype": given} if given else {}))
        generator = torch.Generator().manual_seed(3)
        for _ in range(30):
            params[0].grad = torch.full((n,), float(torch.randn((), generator=generator)) + 0.5)
            optimizer.step()
        paths.append((params[0].detach() - 0.5).double())
    moved = float(paths[0].mean().abs())
    assert float(paths[0].std()) == 0
    # One over a root of a noisy average is larger than that of its mean: some per cent in 8 bits.
    assert abs(float(paths[1].mean() - paths[0].mean())) < (
        0.08 if dtype == "int8" else 0.01
    ) * max(moved, 1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@each_row("case", [(c,) for c in CASES if takes(c, "int8")][::7], lambda case: case.jumps)
def test_one_and_two_threads_give_the_same_bits(case: Case, dtype: str) -> None:
    start, before = parameters(400_001, 300), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(trained(case, dtype, start=start, steps=3))
    finally:
        torch.set_num_threads(before)
    assert same_bits(results[0][0], results[1][0])
    assert same_bits(tensors(results[0][1]), tensors(results[1][1]))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_nothing_is_compiled_when_a_setting_changes(dtype: str) -> None:
    params, optimizer = trained(CASES[0], dtype)
    with event.install_recorder("numba:run_pass") as compilations:
        for lr in (1e-2, 3e-4):
            optimizer.param_groups[0].update(lr=lr, betas=(0.8, 0.99), eps=lr)
            train(optimizer, params, 1)
    assert not compilations.buffer


@each_row("case, rounding", in_turn(["stochastic", "kahan"]), lambda _, rounding: rounding)
def test_small_updates_of_bfloat16_parameters_add_up(case: Case, rounding: str) -> None:
    """A thousandth of the last digit a step: to nearest, nothing would ever move."""
    if case.settings.get("weight_decay") or case.settings.get("cautious"):
        pytest.skip("decay and caution move an element by what the gradients do not say")
    if case.ours is adamantine.Rprop:
        pytest.skip("its steps do not stay small")
    if case.ours is adamantine.Prodigy:
        pytest.skip("its first steps are below the last digit of float32, and grow from there")
    n, steps = 2048, 60
    paths, length = [], 0.0
    for dtype, options in (
        (torch.float32, {}),
        (torch.bfloat16, {"param_rounding": rounding, "state_dtype": "float32"}),
    ):
        params = [torch.nn.Parameter(torch.ones(n, dtype=dtype))]
        if not takes(case, "float32"):
            options.pop("state_dtype", None)
        settings = {**case.settings, "lr": 2e-5}
        optimizer = case.ours(params, **settings, **options)
        for step in range(steps):
            params[0].grad = torch.full((n,), 1.0 + 0.5 * (step % 2), dtype=dtype)
            before = params[0].detach()[0].item()
            optimizer.step()
            if dtype == torch.float32:
                length += abs(params[0].detach()[0].item() - before)
        paths.append(params[0].detach().double())
    moved = float((paths[0] - 1).mean())
    assert 0 < abs(moved) < 0.05
    digit = 2.0**-7  # above one
    found = float((paths[1] - 1).mean())
    if rounding == "kahan":
        full = paths[1] + optimizer.state[params[0]]["compensation"].double()
        found = float((full - 1).mean())
        assert abs(found - moved) < 0.02 * abs(moved) + steps * digit * 2.0**-9 * 2.0**-1
    else:
        # Coins of one digit, whose chances are the way that an element goes.
        sd = (length * digit / n) ** 0.5
        assert abs(found - moved) < 5 * sd + 0.01 * abs(moved)


@first_case
def test_kernels_and_reference_agree_on_parameters_of_16_bits(case: Case) -> None:
    if case.settings.get("cautious"):
        pytest.skip("caution knows nothing of what a parameter is kept in")
    start = parameters(3000, (5, 7), dtype=torch.bfloat16)
    options = {"state_dtype": "float32"} if takes(case, "float32") else {}
    for rounding in ("stochastic", "kahan"):
        results = []
        for backend in (case.by_kernels, "reference"):
            params = clones(start)
            optimizer = case.ours(
                params, **case.settings, param_rounding=rounding, backend=backend, **options
            )
            train(optimizer, params, 5)
            results.append(params)
        for a, b in zip(*results, strict=True):
            assert float((a != b).float().mean()) < 0.02


def test_kahan_follows_float32() -> None:
    start = parameters(5000, dtype=torch.bfloat16)
    exact = clones(start, torch.float32)
    train(adamantine.AdamW(exact, lr=1e-3), exact, 200)
    errors = {}
    for rounding in ("nearest", "kahan"):
        params = clones(start)
        optimizer = adamantine.AdamW(
            params, lr=1e-3, state_dtype="float32", param_rounding=rounding
        )
        train(optimizer, params, 200)
        full = [p.detach().float() for p in params]
        if rounding == "kahan":
            full = [
                p + optimizer.state[q]["compensation"].float()
                for p, q in zip(full, params, strict=True)
            ]
        errors[rounding] = worst_error(clones(full), exact)
    assert errors["kahan"] < errors["nearest"] / 20


KINDS = {
    "zero": lambda g: g * 0,
    "denormal": lambda g: g * 1e-41,
    "huge": lambda g: g.clamp(-3, 3) * 1e37,
    "nan": lambda g: torch.where(torch.arange(g.numel()).view(g.shape) == 3, torch.nan, g),
    "inf": lambda g: torch.where(torch.arange(g.numel()).view(g.shape) == 3, torch.inf, g),
}


@every_pair
def test_unusual_gradients_do_the_same_in_kernels_and_reference(case: Case, dtype: str) -> None:
    """Whatever a rule makes of them: where one has a NaN, the other has it too."""
    if case.settings.get("cautious"):
        pytest.skip("a share of agreeing signs may hang on the last bit of a single element")
    sizes = (0, 1, 255, 256, 257, 1001)
    for kind, bend in KINDS.items():
        results = []
        for backend in ("cpu", "reference"):
            params = parameters(*sizes)
            optimizer = case.ours(params, **case.settings, state_dtype=dtype, backend=backend)
            generator = torch.Generator().manual_seed(4)
            for _ in range(3):
                for param in params:
                    param.grad = bend(torch.randn(param.shape, generator=generator))
                optimizer.step()
            decoded = optimizer.state_dict()["state"].values()
            results.append(
                [p.detach() for p in params]
                + [v.float() for entry in decoded for _, v in sorted(entry.items())]
            )
        for a, b in zip(*results, strict=True):
            assert torch.equal(a.isnan(), b.isnan()), kind
            assert torch.equal(a.isinf(), b.isinf()), kind
            usable = a.isfinite()
            apart = ~torch.isclose(
                a[usable],
                b[usable],
                rtol=1e-4,
                atol=1e-6 * float(b[usable].abs().max() if usable.any() else 1),
            )
            assert float(apart.float().mean() if apart.numel() else 0) < 0.02, kind
