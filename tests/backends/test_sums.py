"""Sums over whole tensors, which rules ask for before they begin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from adamantine import LAMB
from adamantine.backends import lists, reference
from adamantine.backends.reference import ROW
from adamantine.rules import Rule, Sums
from adamantine.rules.rule import Kind

BACKENDS = ["cpu", "lists", "reference"]
SIZES = [0, 1, 17, ROW - 1, ROW, 3 * ROW + 5]


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def stepped(backend: str, companion: int = 0) -> Tensor:
    """A tensor after two steps of LAMB in float64, beside another one."""

    def numbers(seed: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(size, generator=generator, dtype=torch.float64)

    sizes = (3 * ROW + 5, companion)
    params = [torch.nn.Parameter(numbers(0, size)) for size in sizes]
    optimizer = LAMB(params, lr=0.1, backend=backend)
    for step in (1, 2):
        for param in params:
            param.grad = numbers(step, param.numel())
        optimizer.step()
    return params[0].detach()


@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_do_not_depend_on_threads_or_company(backend: str, threads: Any) -> None:
    threads(1)
    alone = stepped(backend)
    for count in (2, 3):
        threads(count)
        assert torch.equal(stepped(backend), alone)
    # A table of a million elements has larger chunks.
    assert torch.equal(stepped(backend, companion=1 << 20), alone)


def summing(kind: Kind) -> Rule:
    """A rule that leaves the sum of its gradient, of a kind, in the parameter."""

    def update(param, grad, sign, total):  # type: ignore[no-untyped-def]
        return (total + (sign - sign) * param,)

    def of(grad, sign):  # type: ignore[no-untyped-def]
        return sign * grad, grad

    def value(total, other):  # type: ignore[no-untyped-def]
        return total

    return Rule(update, (), sums=Sums(of, ("total", "other"), kind, "total", value))


NUMBERS = {
    "sum": lambda x: x,
    "count": lambda x: float(x > 0),
    "squares": lambda x: x * x,
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_sums_are_those_of_exact_arithmetic(kind: Kind, size: int) -> None:
    rule = summing(kind)
    grad = torch.randn(size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    exact = math.fsum(NUMBERS[kind](x) for x in grad.tolist())
    scalars = {"sign": 1.0, "total": 0.0}
    (found, _) = reference.sums(rule, torch.zeros(size), grad, [], scalars)
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-12)
    params = [torch.zeros(size, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    lists.update(rule, params, [grad, torch.ones(3, dtype=torch.float64)], [], {"sign": 1.0})
    assert params[0].tolist() == pytest.approx([exact] * size, rel=1e-12, abs=1e-12)
    assert params[1].tolist() == [3.0] * 3


def test_squares_neither_overflow_nor_vanish_in_float32() -> None:
    """θ moves by a tenth of its norm, whatever that is."""
    for size in (1e-30, 1e30):
        for backend in BACKENDS:
            param = torch.nn.Parameter(torch.full((4,), size))
            optimizer = LAMB([param], lr=0.1, weight_decay=0.0, eps=0.0, backend=backend)
            param.grad = torch.ones(4)
            optimizer.step()
            assert param.tolist() == pytest.approx([0.9 * size] * 4, rel=1e-6)


def test_a_count_leaves_out_what_is_not_a_number() -> None:
    rule = summing("count")
    grad = torch.tensor([1.0, math.nan, -1.0, 0.0, math.inf])
    assert reference.sums(rule, torch.zeros(5), grad, [], {"sign": 1.0}) == [2.0, 2.0]
