"""One compilation for each rule and formats: no number, address or length makes another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import triton
from machine_code import SM_90

from adamantine.backends.formats import Format
from adamantine.backends.gpu.kernel.compiling import compiled, compiled_squares
from adamantine.rules.adam import ADAM


@pytest.fixture
def a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the part of Triton that compiles and looks for what it has compiled."""
    driver = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_target=lambda: SM_90,
        get_current_stream=lambda _: 0,
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver, raising=False)


@pytest.mark.usefixtures("a_gpu_that_is_not_there")
def test_one_kernel_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    update, squares = compiled(ADAM, (Format(torch.float32),) * 3), compiled_squares(torch.float32)
    for launch, wide in ((update, {"scalars", "decision", "shares", "tile_sums"}),
                         (squares, {"tile_sums"})):  # fmt: skip
        launch.kernel.device_caches.clear()
        kernels = set()
        for numbers, at in ((1, 0), (16, 0), (17, 1), (1 << 20, 1)):
            memory = {
                name: torch.zeros(64, dtype=torch.float64 if name in wide else torch.int64)[at:]
                for name in launch.arrays
            }
            arrays = [numbers if n == "columns" else memory[n] for n in launch.arrays]
            made = launch.kernel.warmup(
                *arrays, grid=(numbers,), **launch.constants, **launch.options
            )
            kernels.add(id(made))
        assert len(kernels) == 1


def test_there_is_one_for_all_tables_of_a_rule() -> None:
    formats = (Format(torch.float32),) * 3
    assert compiled(ADAM, formats) is compiled(ADAM, formats)
