"""Updates around matrices by the kernels for GPUs, against the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device import parameters
from test_optimizers import assert_alike, run

import adamantine
from contract import clones, train

SHAPES = ((8, 16), (16, 8), (40, 60), (8, 16), (3, 4, 5), (2, 3, 2, 2))
OPTIONS: list[dict[str, Any]] = [
    {},
    {"normuon": True, "adjust_lr_fn": "match_rms_adamw"},
    {"max_grad_norm": 0.5, "skip_nonfinite": True, "normuon": True},
    {"zero_grad": "zeros", "collect_stats": True, "nesterov": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_muon_as_the_reference(options: dict[str, Any]) -> None:
    start = parameters(*SHAPES)
    pair = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        given: Any = {"lr": 0.05, "ns_dtype": "float32", "backend": backend, **options}
        pair.append((adamantine.Muon(params, **given), params))
    run(pair)
    assert_alike(pair, rtol=1e-4)


def test_a_device_leaves_a_step_out() -> None:
    params = parameters((6, 9), (6, 9))
    optimizer = adamantine.Muon(params, normuon=True, skip_nonfinite=True, backend="gpu")
    train(optimizer, params, 2)
    before = [p.detach().clone() for p in params]
    kept = [{k: v.clone() for k, v in optimizer.state[p].items()} for p in params]
    for param in params:
        param.grad = torch.full_like(param, float("nan"))
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert all(map(torch.equal, before, params))
    for param, state in zip(params, kept, strict=True):
        found = optimizer.state[param]
        assert all(
            torch.equal(found[name], value) for name, value in state.items() if name != "step"
        )


@pytest.mark.parametrize("options", [{"state_dtype": "int8"}, {"master": "24bit"}], ids=str)
def test_muon_in_few_bits(options: dict[str, Any]) -> None:
    start = parameters((8, 64), (64, 8), dtype=torch.bfloat16)
    found = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        given: Any = {"lr": 0.02, "ns_dtype": "float32", "backend": backend, **options}
        train(adamantine.Muon(params, **given), params, 4)
        found.append(params)
    torch.testing.assert_close(*found, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.5, "skip_nonfinite": True}], ids=str)
def test_soap_as_the_reference(options: dict[str, Any]) -> None:
    start = parameters((6, 6), (9, 9), (6, 6), 5)
    pair = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        given: Any = {"lr": 0.02, "precondition_frequency": 2, "backend": backend, **options}
        pair.append((adamantine.SOAP(params, **given), params))
    run(pair)
    torch.testing.assert_close(pair[0][1], pair[1][1], rtol=1e-3, atol=1e-3)
