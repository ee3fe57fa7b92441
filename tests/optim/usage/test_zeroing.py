"""Gradients that a step leaves at zero: which memory is written, and when."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import adamantine
from adamantine.backends.layout import are_apart
from step_options_cases import DTYPES, every_backend, layer_of, with_gradients


@every_backend
@pytest.mark.parametrize("bad", [False, True])
def test_sparse_gradients_are_zeroed(backend: Any, bad: bool) -> None:
    table, other = nn.Embedding(12, 3, sparse=True), nn.Parameter(torch.ones(5))
    optimizer = adamantine.SGD(
        [table.weight, other], backend=backend, zero_grad="zeros", skip_nonfinite=True
    )
    (table(torch.tensor([1, 1, 2])).sum() + other.sum() * (math.nan if bad else 1)).backward()
    optimizer.step()
    assert optimizer.skipped_steps == bad
    assert table.weight.grad.is_sparse
    assert not table.weight.grad.to_dense().any()
    assert torch.equal(other.grad, torch.zeros(5))


@every_backend
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeroing_changes_no_step_of_any_dtype(backend: Any, dtype: torch.dtype) -> None:
    results = []
    for zero_grad in (False, "zeros"):
        params = with_gradients(torch.linspace(-1, 1, 20_001).to(dtype))
        optimizer = adamantine.AdamW(params, backend=backend, zero_grad=zero_grad)
        optimizer.step()
        assert bool(params[0].grad.any()) == (not zero_grad)
        results.append(params[0].detach())
    assert results[0].any()
    assert torch.equal(*results)


def test_gradients_that_share_memory_are_zeroed_after_all_are_read() -> None:
    results = []
    for zero_grad in (False, "zeros"):
        memory = torch.arange(1.0, 13.0)
        grads = memory[:6], memory[:6], memory[4:10], memory[10:]
        params = with_gradients(*grads)
        adamantine.SGD(params, lr=1.0, zero_grad=zero_grad).step()
        results.append([p.detach() for p in params])
        assert memory.any() == (not zero_grad)
    assert all(map(torch.equal, *results))


def test_one_memory_under_two_dtypes_and_backends() -> None:
    """Kernels of one dtype must not clear what those of the next, or torch, are about to read."""
    results = []
    for zero_grad in (False, "zeros"):
        memory = torch.arange(1.0, 13.0)
        strided = nn.Parameter(torch.zeros(6, 2)[:, 0])
        params = with_gradients(memory[:4], memory[:4].view(torch.float64), memory[4:8])
        strided.grad = memory[4:10]
        optimizer = adamantine.SGD([*params, strided], lr=1.0, zero_grad=zero_grad)
        optimizer.step()
        results.append([p.detach().clone() for p in (*params, strided)])
        assert memory[:10].any() == (not zero_grad)
        assert memory[10:].all()
    assert all(map(torch.equal, *results))


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=6)


@given(spans)
def test_spans_apart_by_brute_force(drawn: list[tuple[int, int]]) -> None:
    places = [p for begin, length in drawn for p in range(begin, begin + length)]
    array = np.array([(b, b + n) for b, n in drawn], np.int64).reshape(-1, 2)
    apart = are_apart(*array.T)
    truth = len(places) == len(set(places))
    # Of an empty span within another one it may say no.
    assert apart == truth or (truth and any(length == 0 for _, length in drawn))


def test_a_gradient_in_another_layout_is_zeroed_itself() -> None:
    param = nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
    optimizer = adamantine.AdamW([param], zero_grad="zeros", max_grad_norm=1.0)
    param.grad = grad = torch.randn(2, 3, 4, 4)
    norm = float(grad.norm())
    optimizer.step()
    assert param.grad is grad
    assert not grad.any()
    assert optimizer.grad_norm == pytest.approx(norm, rel=1e-6)


@every_backend
def test_zeroed_gradients_leave_the_graph_and_tell_autograd(backend: Any) -> None:
    param, weight = nn.Parameter(torch.ones(3)), torch.ones(3, requires_grad=True)
    (param.grad,) = torch.autograd.grad((param**3).sum(), param, create_graph=True)
    adamantine.SGD([param], zero_grad="zeros", backend=backend).step()
    assert (param.grad.grad_fn, param.grad.requires_grad) == (None, False)
    param.grad.fill_(2.0)
    saved = (param.grad * weight).sum()  # its derivative needs what is about to be zeroed
    adamantine.SGD([param], zero_grad="zeros", backend=backend).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


def test_gradients_are_zeroed_after_a_step_that_is_left_out() -> None:
    for zero_grad in (True, "zeros"):
        params = with_gradients(torch.full((3,), math.nan), torch.ones(2))
        optimizer = adamantine.Adam(params, skip_nonfinite=True, zero_grad=zero_grad)
        optimizer.step()
        grads = [p.grad for p in params]
        if zero_grad is True:
            assert grads == [None, None]
        else:
            assert not any(g.any() for g in grads)


def test_accumulating_into_zeros_goes_on() -> None:
    """Gradients keep their memory, and training is what it is with None."""
    results = []
    for zero_grad in (True, "zeros"):
        model = layer_of()
        optimizer = adamantine.AdamW(model.parameters(), zero_grad=zero_grad, max_grad_norm=0.5)
        for inputs in torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(2)):
            for half in inputs.split(4):
                model(half).square().mean().backward()
            optimizer.step()
        results.append([p.detach() for p in model.parameters()])
    assert all(map(torch.equal, *results))
