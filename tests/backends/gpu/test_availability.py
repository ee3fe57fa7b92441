"""For which devices kernels can be compiled; the others' parameters are updated by lists."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton

import adamantine
from adamantine.backends.gpu import availability
from adamantine.errors import BackendError
from adamantine.optim.state.precision import treatment
from adamantine.optim.step.updates import choice

CUDA, XPU = torch.device("cuda:0"), torch.device("xpu:1")


@pytest.fixture(autouse=True)
def _not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "refusal", availability.refusal.__wrapped__)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("3.3.1", r"is 3\.3\.1, not 3\.4 or newer"),
        ("2.3.0", r"is 2\.3\.0, not 3\.4 or newer"),
        ("3.4.0+git1a2b", None),
        ("3.10.0", None),
    ],
)
def test_versions_of_triton(
    version: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "__version__", version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    found = availability.refusal(CUDA)
    assert found is None if reason is None else re.search(reason, str(found))


def test_gpus_that_are_too_old_or_lack_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert "compute capability 6.1" in str(availability.refusal(CUDA))
    properties = SimpleNamespace(has_fp64=False)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda _: properties)
    assert "no float64" in str(availability.refusal(XPU))
    properties.has_fp64 = True
    assert availability.refusal(XPU) is None


def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "has", lambda _: False)
    assert "pip install 'adamantine[gpu]'" in str(availability.refusal(CUDA))


@pytest.mark.parametrize("backend", ["auto", "gpu", "lists", "reference", "cpu"])
def test_only_kernels_count_on_the_device(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and the reference would wait for each count, or could not add to it."""
    monkeypatch.setattr(choice, "refusal_of_gpu", lambda _: None)
    param = torch.empty(3, device="meta")
    group = {"lr": 0.1, "capturable": True}
    treated = treatment(adamantine.Lion.family, {"lr": 0.1}, param, {})
    there = choice.counts_on_device(treated, param, group, {}, backend, may_skip=True)
    assert there == (backend in ("auto", "gpu"))


@pytest.mark.parametrize("backend", ["lists", "reference"])
def test_capturable_is_refused_in_words_that_are_true(backend: Any) -> None:
    member: Any = SimpleNamespace(here=torch.empty(3, device="meta"), group=0)
    with pytest.raises(BackendError, match=f"and backend='{backend}' leaves them out; use capt"):
        choice.select_for_kernels([member], [{"capturable": True}], backend)
