"""Lazy steps against SparseAdam, exact ones against dense optimizers in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import adamantine
from adamantine.backends import missed_steps
from contract import clones, parameters
from sparse_cases import (
    ROWS,
    WIDTH,
    assert_like_dense,
    coo,
    cosine,
    every_backend,
    every_variant,
    feed,
    gradients,
    states,
    torch_may_warn,
)

pytestmark = torch_may_warn
some_by_reference = pytest.mark.parametrize(
    "backend", ["auto", pytest.param("reference", marks=pytest.mark.slow)]
)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"betas": (0.5, 0.9), "maximize": True}], ids=str)
def test_lazy_is_sparse_adam(backend: str, dtype: torch.dtype, kwargs: dict[str, Any]) -> None:
    (start,) = parameters((ROWS, WIDTH), dtype=dtype)
    (ours,), (theirs,) = clones([start]), clones([start])
    optimizer = adamantine.Adam([ours], lr=1e-2, sparse="lazy", backend=backend, **kwargs)
    oracle = torch.optim.SparseAdam([theirs], lr=1e-2, **kwargs)
    grads = gradients(60, dtype=dtype)
    grads[7] = grads[7].coalesce()
    feed(optimizer, ours, grads)
    feed(oracle, theirs, grads)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    for name in ("exp_avg", "exp_avg_sq"):
        a, b = optimizer.state[ours][name], oracle.state[theirs][name]
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@every_backend
@every_variant
def test_lazy_is_the_dense_step_of_the_rows_that_are_touched(
    name: str, kwargs: dict[str, Any], backend: str
) -> None:
    (start,) = parameters((ROWS, WIDTH))
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = getattr(adamantine, name)([ours], lr=1e-2, sparse="lazy", backend=backend, **kwargs)
    oracle = getattr(torch.optim, name)([dense], lr=1e-2, **kwargs)
    for step, grad in enumerate(gradients(40), 1):
        if "eps" in kwargs:  # see rules/lazy.py
            oracle.param_groups[0]["eps"] = 1e-4 / math.sqrt(1 - 0.999**step)
        before = [dense.detach().clone(), *(s.clone() for s in oracle.state[dense].values())]
        feed(optimizer, ours, [grad])
        feed(oracle, dense, [grad], dense=True)
        untouched = torch.ones(ROWS, dtype=torch.bool)
        untouched[grad._indices()[0]] = False
        with torch.no_grad():
            tensors = [dense, *oracle.state[dense].values()]
            for tensor, old in zip(tensors, before, strict=False):
                if tensor.dim() == 2:
                    tensor[untouched] = old[untouched]
            if len(before) == 1:  # states of zeros were made in this step
                for tensor in tensors[1:]:
                    if tensor.dim() == 2:
                        tensor[untouched] = 0.0
        torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-6)
    assert_like_dense(optimizer, oracle, 1e-5, 1e-6)


@some_by_reference
@every_variant
def test_exact_is_dense_after_500_steps(name: str, kwargs: dict[str, Any], backend: str) -> None:
    (start,) = parameters((ROWS, WIDTH))
    (ours,), (dense,) = clones([start]), clones([start], torch.float64)
    optimizer = getattr(adamantine, name)([ours], sparse="exact", backend=backend, **kwargs)
    oracle = getattr(torch.optim, name)([dense], **kwargs)
    steps = 500 if backend == "auto" else 100
    grads = gradients(steps)
    feed(optimizer, ours, grads, cosine)
    feed(oracle, dense, [g.double() for g in grads], cosine, dense=True)
    optimizer.flush()
    assert_like_dense(optimizer, oracle, 1e-5, 1e-6)


@given(
    touches=st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=40),
    beta1=st.floats(0.0, 0.99),
    beta2=st.floats(0.3, 0.9999),
    eps=st.floats(-12, 0).map(lambda power: 10.0**power),
    decay=st.sampled_from([0.0, 0.1, 3.0]),
    rates=st.lists(st.floats(0.0, 0.1), min_size=1, max_size=7),
    scale=st.floats(-12, 2).map(lambda power: 10.0**power),
    amsgrad=st.booleans(),
    backend=st.sampled_from(["auto", "reference"]),
)
@settings(max_examples=60, deadline=None)
def test_exact_is_dense_in_float64(
    touches: list[list[int]],
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    rates: list[float],
    scale: float,
    amsgrad: bool,
    backend: str,
) -> None:
    random = torch.Generator().manual_seed(len(touches))
    kwargs: dict[str, Any] = {"betas": (beta1, beta2), "eps": eps, "amsgrad": amsgrad}
    kwargs["weight_decay"] = decay
    start = nn.Parameter(torch.randn(6, 3, generator=random, dtype=torch.float64))
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = adamantine.AdamW([ours], sparse="exact", backend=backend, **kwargs)
    oracle = torch.optim.AdamW([dense], **kwargs)
    grads = [
        scale
        * coo(
            torch.tensor(rows, dtype=torch.int64),
            torch.randn(len(rows), 3, generator=random, dtype=torch.float64),
            (6, 3),
        )
        for rows in touches
    ]
    feed(optimizer, ours, grads, lambda step: rates[step % len(rates)])
    feed(oracle, dense, grads, lambda step: rates[step % len(rates)], dense=True)
    optimizer.flush()
    # A millionth of the distance that a row has gone while it waited, at most some 40 steps.
    gone = float((dense - start).detach().abs().max())
    torch.testing.assert_close(ours, dense, rtol=1e-12, atol=2e-6 * gone + 1e-13)
    for a, b in zip(states(optimizer), states(oracle), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_window_that_is_full_starts_again(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (start,) = parameters((ROWS, WIDTH), dtype=torch.float64)
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = adamantine.AdamW([ours], sparse="exact", backend=backend)
    oracle = torch.optim.AdamW([dense])
    monkeypatch.setattr(missed_steps, "FULL", 16)
    grads = gradients(70, dtype=torch.float64)
    feed(optimizer, ours, grads)
    assert 0 < optimizer._missed_steps[ours].now <= 16
    feed(oracle, dense, grads, dense=True)
    assert_like_dense(optimizer, oracle, 1e-9, 1e-6)


def test_settings_may_change_in_any_step() -> None:
    (start,) = parameters((ROWS, WIDTH), dtype=torch.float64)
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = adamantine.Adam([ours], sparse="exact")
    oracle = adamantine.Adam([dense])
    changes: list[dict[str, Any]] = [
        *({"betas": (0.8, 0.99)}, {"eps": 1e-3}, {"weight_decay": 0.1}, {"amsgrad": True}),
        *({"decoupled_weight_decay": True}, {"lr": torch.tensor(0.1)}, {"amsgrad": False}),
    ]
    grads = gradients(12 * len(changes), dtype=torch.float64)
    for index, change in enumerate(changes):
        for one, param, is_dense in ((optimizer, ours, False), (oracle, dense, True)):
            one.param_groups[0].update(change)
            feed(one, param, grads[12 * index : 12 * index + 12], dense=is_dense)
    assert_like_dense(optimizer, oracle, 1e-6, 1e-6)


def test_lazy_and_exact_may_be_switched() -> None:
    (start,) = parameters((ROWS, WIDTH), dtype=torch.float64)
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = adamantine.Adam([ours], sparse="exact")
    oracle = adamantine.Adam([dense])
    grads = gradients(30, dtype=torch.float64)
    feed(optimizer, ours, grads)
    feed(oracle, dense, grads, dense=True)
    optimizer.param_groups[0]["sparse"] = "lazy"
    everything = coo(torch.arange(ROWS), torch.ones(ROWS, WIDTH).double(), (ROWS, WIDTH))
    feed(optimizer, ours, [everything])
    feed(oracle, dense, [everything], dense=True)
    assert not optimizer._missed_steps
    assert_like_dense(optimizer, oracle, 1e-6, 1e-6)


@every_variant
def test_dense_gradients_in_between(name: str, kwargs: dict[str, Any]) -> None:
    (start,) = parameters((ROWS, WIDTH))
    (ours,), (dense,) = clones([start]), clones([start], torch.float64)
    optimizer = getattr(adamantine, name)([ours], lr=1e-2, sparse="exact", **kwargs)
    oracle = getattr(torch.optim, name)([dense], lr=1e-2, **kwargs)
    for step, grad in enumerate(gradients(60)):
        feed(optimizer, ours, [grad], dense=step % 7 in (0, 3))
        feed(oracle, dense, [grad.double()], dense=True)
    assert_like_dense(optimizer, oracle, 1e-5, 1e-6)
