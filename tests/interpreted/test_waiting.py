"""What torch does for a step on a device: nothing there is waited for, and nothing comes from it.

The device is ``meta``, where there are no numbers to come back.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adamantine.backends.gpu import arguments, step_words
from adamantine.backends.gpu.device_scalars import scalars_on_device
from adamantine.backends.gpu.kernel import counters
from adamantine.optim.step.scaling.device_decision import DeviceDecision
from cases import Case
from contract import every_case, parameters

DEVICE = torch.device("meta")
COPIES = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default
WAITS = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.index_put_.default,  # whose list of places torch copies there
)


class NoWaiting(TorchDispatchMode):
    """Refuses what ``torch.cuda.set_sync_debug_mode("error")`` does, and what no graph records.

    A graph copies what is at an address in main memory, in each replay: of no temporary tensor.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        assert func not in WAITS, f"{func} waits for the device"
        places = {t.device.type for t in tree_leaves((args, found)) if isinstance(t, Tensor)}
        if func in COPIES and len(places) > 1:
            assert kwargs.get("non_blocking") or True in args[2:], f"{func} waits for the device"
            source = args[1] if func is COPIES[1] else args[0]
            assert found.dtype == source.dtype, "by way of a temporary tensor"
        return found


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        step_words.streams, "pinned", lambda words, _: torch.empty(words, dtype=torch.int64)
    )
    monkeypatch.setattr(step_words.streams, "is_capturing", lambda _: False)
    monkeypatch.setattr(step_words.StepWords, "_write", lambda *_: None)
    monkeypatch.setattr(counters, "_launch", lambda *_: None)


@every_case
def test_scalars(case: Case, pretended: None) -> None:
    """From counters that are there, with settings in tensors there and here."""
    family = case.ours.family
    defaults = case.ours(parameters(1), **case.settings).defaults
    settings = [
        {**defaults, "lr": torch.tensor(0.1)},
        {**defaults, "lr": torch.empty((), device=DEVICE)},
    ]
    rule = family.rule_of(defaults, (1,))
    columns = 2 + len(rule.states) + len(family.counters)
    probe: Any = SimpleNamespace(
        device=DEVICE, groups=np.array([1, 0, 1]), rows=np.array([0, -1, 0]),
        values=np.zeros((3, 1)), addresses=np.zeros((3, columns), np.int64),
    )  # fmt: skip
    there = arguments.DeviceArguments(
        rule, family.counters, [0, 1], probe, columns - len(family.counters), torch.arange(3)
    )

    def scalars_of(group: int, *counted: Tensor) -> Any:
        return scalars_on_device(family.scalars, settings[group], counted)

    decision = torch.empty(2, dtype=torch.float64, device=DEVICE)
    with NoWaiting():
        sent = there.send(scalars_of)
        there.advance(sent, decision)
    assert sent.scalars.shape == (3, len(rule.scalars))
    assert sent.scalars.is_contiguous()
    assert {t.device for t in sent} == {DEVICE}


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0, "here", "there"])
@pytest.mark.parametrize("scaled", [False, True])
def test_decisions(skips: bool, clip: Any, scaled: bool, pretended: None) -> None:
    def there(dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty((), dtype=dtype, device=DEVICE)

    decides = DeviceDecision(DEVICE, 0, 0)
    largest = {"here": torch.tensor(1.0), "there": there()}.get(clip, clip)
    with NoWaiting():
        decision = decides.decide(
            there() if scaled else None, there() if scaled else None, there(torch.float64),
            None if clip is None else (largest, 1e-6), skips,
        )  # fmt: skip
    assert decision.device == DEVICE
    assert (decision.dtype, decision.shape) == (torch.float64, (2,))
