"""One compilation for each rule and formats: no number, address or length makes another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
from machine_code import SM_90

from adamantine.backends.formats import Format
from adamantine.backends.gpu.kernel import counters
from adamantine.backends.gpu.kernel.compiling import Launch, compiled, compiled_squares
from adamantine.rules.adam import ADAM


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a GPU that is not here is told to launch."""
    told: list[tuple[Any, ...]] = []
    utils = SimpleNamespace(
        load_binary=lambda *_: (None, 1, 100, 0, 1024),
        get_device_properties=lambda _: {"max_shared_mem": 1 << 17},
    )
    driver = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_target=lambda: SM_90,
        get_current_stream=lambda _: 7,
        launcher_cls=lambda *_: lambda *arguments: told.append(arguments),
        utils=utils,
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver, raising=False)
    return told


@pytest.mark.usefixtures("launches")
def test_one_kernel_a_rule() -> None:
    update, squares = compiled(ADAM, (Format(torch.float32),) * 3), compiled_squares(torch.float32)
    counted = {"values", "decision"}
    for launch, wide in ((update, {"scalars", "decision", "decided", "tile_sums"}),
                         (squares, {"tile_sums"}),
                         (counters._compiled(counters._read), counted),
                         (counters._compiled(counters._write), counted)):  # fmt: skip
        launch.kernel.device_caches.clear()
        kernels = set()
        for numbers, at in ((1, 0), (16, 0), (17, 1), (1 << 20, 1)):
            memory = {
                name: torch.zeros(64, dtype=torch.float64 if name in wide else torch.int64)[at:]
                for name in launch.arrays
            }
            arrays = [numbers if n in ("columns", "count") else memory[n] for n in launch.arrays]
            made = launch.kernel.warmup(
                *arrays, grid=(numbers,), **launch.constants, **launch.options
            )
            kernels.add(id(made))
        assert len(kernels) == 1


def test_there_is_one_for_all_tables_of_a_rule() -> None:
    formats = (Format(torch.float32),) * 3
    assert compiled(ADAM, formats) is compiled(ADAM, formats)


def test_a_second_launch_is_told_as_the_first(launches: list[tuple[Any, ...]]) -> None:
    """It goes by what the first has compiled, without looking at constants again."""
    formats = (Format(torch.float32),) * 3
    first = compiled(ADAM, formats)
    launch = Launch(first.kernel, first.arrays, first.constants)
    launch.kernel.device_caches.clear()
    arrays = [torch.zeros(8, dtype=torch.int64 if i < 4 else torch.float64) for i in range(9)]
    for _ in range(3):
        launch.launch(5, *arrays)
    launch.launch(0, *arrays)
    assert len(launches) == 3
    metadata = 6  # for profilers; an object of each launch's own
    for told in launches:
        assert told[:4] == (5, 1, 1, 7)
        assert told[4:metadata] == launches[0][4:metadata]
        assert told[metadata + 1 : 9] == launches[0][metadata + 1 : 9]
        assert all(a is b for a, b in zip(told[9:18], arrays, strict=True))
        assert told[18:] == tuple(launch.constants[name] for name in launch.kernel.arg_names[9:])
