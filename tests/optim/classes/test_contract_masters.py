"""Every row of ``cases.py`` with bfloat16 parameters and a master, beside float32 training."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from numba.core import event
from torch import Tensor

import adamantine
from adamantine.backends.codes import master_in
from adamantine.optim import RuleOptimizer
from adamantine.optim.matrices import MatrixOptimizer
from cases import Case, rule_of
from contract import clones, each_row, in_turn, parameters, train

MASTERS = "float32", "24bit"
SIZES = (1, 257, (37, 11), 0, 3000)

PAIRS = in_turn(MASTERS)
every_pair = each_row("case, master", PAIRS)
some_pairs = each_row("case, master", PAIRS, lambda case, _: len(rule_of(case).states))
"""The other rows are slow: what parts a number into two tensors does not look into a rule."""


def numbers(optimizer: RuleOptimizer, params: list[torch.nn.Parameter]) -> list[Tensor]:
    """What parameters and masters stand for."""
    masters = [optimizer.state[p].get("master") for p in params]
    return [
        p.detach().float() if m is None else master_in(torch.float32, m, p)
        for p, m in zip(params, masters, strict=True)
    ]


def follow_float32(
    case: Case,
    master: str,
    dtype: torch.dtype = torch.bfloat16,
    *,
    steps: int = 5,
    rtol: float = 0.0,
    **options: Any,
) -> None:
    """Train beside float32 parameters that get the same gradients.

    After each step these begin at the other's numbers again: what is compared is a step.
    """
    params = parameters(*SIZES, dtype=dtype)
    exact = clones(params, torch.float32)
    ours = case.ours(params, **case.settings, **options, master=master)
    theirs = case.ours(exact, **case.settings, **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p, e in zip(params, exact, strict=True):
            p.grad = torch.randn(p.shape, generator=generator).to(dtype)
            e.grad = p.grad.float()
        ours.step()
        theirs.step()
        for p, e, number in zip(params, exact, numbers(ours, params), strict=True):
            lost = rtol + (0 if master == "float32" else 2.0**-16)
            torch.testing.assert_close(number, e.detach(), rtol=lost, atol=rtol)
            if master == "float32":
                assert torch.equal(p, number.to(dtype))
            else:
                assert bool(((p - number).abs() <= (number - number.bfloat16()).abs()).all())
            for name, value in theirs.state[e].items():
                torch.testing.assert_close(ours.state[p][name], value, rtol=rtol, atol=0, msg=name)
            e.data.copy_(number)


def _skip_matrices(case: Case) -> None:
    if issubclass(case.ours, MatrixOptimizer):
        pytest.skip("directions of matrices are kept in 16 bits, as their gradients are")


@every_pair
def test_torch_trains_as_in_float32(case: Case, master: str) -> None:
    _skip_matrices(case)
    for backend in ("lists", "reference"):
        follow_float32(case, master, backend=backend)


@some_pairs
def test_kernels_train_as_in_float32(case: Case, master: str) -> None:
    _skip_matrices(case)
    # Loops of other shapes need not fuse the same multiplications and additions.
    fused = case.ours in (adamantine.AdEMAMix, adamantine.Adafactor)
    follow_float32(case, master, backend=case.by_kernels, rtol=1e-6 if fused else 0.0)


ROUNDED = [(master, dtype) for dtype in ("bfloat16", "int8") for master in MASTERS]


@pytest.mark.parametrize(("master", "state_dtype"), ROUNDED)
def test_torch_rounds_states_as_beside_float32_parameters(master: str, state_dtype: Any) -> None:
    """Their random numbers do not depend on what the parameter is kept in."""
    case = Case("AdamW", adamantine.AdamW, torch.optim.AdamW, {"cautious": True})
    follow_float32(case, master, backend="reference", state_dtype=state_dtype)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("master", "state_dtype"),
    [pytest.param(*row, marks=slow if row[0] == "float32" else ()) for row in ROUNDED],
)
def test_kernels_round_states_as_beside_float32_parameters(master: str, state_dtype: Any) -> None:
    """But their loops may fuse other multiplications and additions."""
    case = Case("Adam", adamantine.Adam, torch.optim.Adam)
    follow_float32(case, master, backend="cpu", state_dtype=state_dtype, rtol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])
def test_float16_parameters_train_as_in_float32(backend: str) -> None:
    case = Case("AdamW", adamantine.AdamW, torch.optim.AdamW)
    follow_float32(case, "float32", torch.float16, backend=backend)


STEP_OPTIONS = {"max_grad_norm": 0.5, "zero_grad": "zeros", "skip_nonfinite": True}


@pytest.mark.parametrize("master", [pytest.param("float32", marks=slow), "24bit"])
@pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])
def test_options_of_the_step_are_those_of_float32(master: str, backend: str) -> None:
    case = Case("Adam", adamantine.Adam, torch.optim.Adam)
    follow_float32(case, master, backend=backend, **STEP_OPTIONS, collect_stats=True)


def trained(
    case: Case, master: str | None, start: Any, steps: int = 4, seed: int = 1, **options: Any
) -> tuple[list[torch.nn.Parameter], RuleOptimizer]:
    params = clones(start)
    optimizer = case.ours(params, **case.settings, **options, master=master)
    train(optimizer, params, steps, seed)
    return params, optimizer


def assert_same_bits(a: Any, b: Any) -> None:
    """Of parameters and states of two optimizers with their parameters."""
    for p, q in zip(a[0], b[0], strict=True):
        assert torch.equal(p, q)
        ours, theirs = a[1].state[p], b[1].state[q]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@every_pair
def test_a_checkpoint_goes_on_with_the_same_bits(case: Case, master: str) -> None:
    start = parameters(*SIZES, dtype=torch.bfloat16)
    whole = trained(case, master, start, backend="reference")
    buffer = io.BytesIO()
    torch.save((whole[0], whole[1].state_dict()), buffer)
    buffer.seek(0)
    weights, saved = torch.load(buffer, weights_only=True)
    resumed = trained(case, master, start, steps=0, backend="reference")
    resumed[1].load_state_dict(saved)  # before the weights, which is as well
    for p, weight in zip(resumed[0], weights, strict=True):
        p.data.copy_(weight)
    for run in (whole, resumed):
        train(run[1], run[0], 3, seed=9)
    assert_same_bits(whole, resumed)
    if case.theirs.__module__.startswith("torch"):
        settings = {k: v for k, v in case.settings.items() if k != "cautious"}
        params = clones(start)
        theirs = case.theirs(params, **settings)
        theirs.load_state_dict(copy.deepcopy(saved))
        train(theirs, params, 1)


@pytest.mark.parametrize(("master", "state_dtype"), [("float32", None), ("24bit", "int8")])
def test_one_and_two_threads_give_the_same_bits(master: str, state_dtype: Any) -> None:
    case = Case("Adam", adamantine.Adam, torch.optim.Adam)
    start, before = parameters(400_001, 300, dtype=torch.bfloat16), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(trained(case, master, start, steps=2, state_dtype=state_dtype))
    finally:
        torch.set_num_threads(before)
    assert_same_bits(*results)


@pytest.mark.parametrize("master", MASTERS)
def test_nothing_is_compiled_when_a_setting_changes(master: str) -> None:
    case = Case("Adam", adamantine.Adam, torch.optim.Adam)
    params, optimizer = trained(case, master, parameters(100, dtype=torch.bfloat16))
    with event.install_recorder("numba:run_pass") as compilations:
        optimizer.param_groups[0].update(lr=1e-2, betas=(0.8, 0.99))
        train(optimizer, params, 1)
    assert not compilations.buffer
