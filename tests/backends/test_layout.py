"""Density and overlap of tensors, against brute force over every address."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adamantine.backends.cpu.probe import compiled_probe
from adamantine.backends.cpu.probe.tensor_probe import TensorProbe
from adamantine.backends.formats import Format
from adamantine.backends.layout import check_memory, is_dense, overlapping
from adamantine.errors import BackendError

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4)


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    """Any strided view of a block of memory."""
    shape = draw(SHAPES)
    strides = [draw(st.integers(0, 12)) for _ in shape]
    return torch.zeros(400).as_strided(shape, strides, draw(st.integers(0, 20)))


def addresses(tensor: Tensor) -> list[int]:
    walked = torch.arange(400).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    return sorted(walked.flatten().tolist())


@given(views())
def test_dense_means_every_address_of_a_block_once(tensor: Tensor) -> None:
    found = addresses(tensor)
    block = not found or found == list(range(found[0], found[0] + len(found)))
    assert is_dense(tensor) == block


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 10)), max_size=3), max_size=6)
)
def test_what_is_left_without_overlapping_sets_is_disjoint(
    rows: list[list[tuple[int, int]]],
) -> None:
    memory = torch.zeros(100)
    sets = [[memory[start : start + size] for start, size in row] for row in rows]
    spans = [[range(start, start + size) for start, size in row] for row in rows]
    out = overlapping(sets)
    kept = [place for i, row in enumerate(spans) if i not in out for span in row for place in span]
    assert len(kept) == len(set(kept))
    for i in out:  # and nobody is sent away for nothing
        others = [p for j, row in enumerate(spans) if j != i for span in row for p in span]
        own = [p for span in spans[i] for p in span]
        assert len(own) != len(set(own)) or set(own) & set(others) or _hangs_together(i, spans)


def _hangs_together(i: int, spans: list[list[range]]) -> bool:
    """Whether a set touches a cluster of overlapping spans: sent away, if cautiously."""
    places = [p for row in spans for span in row for p in span]
    return len(places) != len(set(places))


@given(views())
def test_the_memory_check_agrees_with_the_last_address(tensor: Tensor) -> None:
    found = addresses(tensor)
    check_memory("it", tensor)
    if found:
        storage = tensor.untyped_storage()
        storage.resize_(4 * (found[-1] + 1))
        check_memory("it", tensor)
        storage.resize_(4 * found[-1])
        with pytest.raises(BackendError, match=f"needs {4 * (found[-1] + 1)} bytes"):
            check_memory("it", tensor)


@settings(max_examples=60, deadline=None)
@given(views(), views(), st.booleans())
def test_both_probes_see_the_same(param: Tensor, grad: Tensor, missing: bool) -> None:
    if compiled_probe.exporter() == 0:
        pytest.skip("this torch has no DLPack exchange API")
    seen = []
    for export in (compiled_probe.exporter(), 0):
        state = {"step": torch.tensor(4.0), "exp_avg": torch.empty_like(param)}
        groups = torch.tensor([3]).numpy()
        formats = [Format(param.dtype)]
        probe = TensorProbe([nn.Parameter(param)], [state], ["exp_avg"], formats, ["step"], groups)
        original, compiled_probe.exporter = compiled_probe.exporter, lambda export=export: export
        try:
            worst = probe.read([None if missing else grad])
        finally:
            compiled_probe.exporter = original
        state_fits = probe.addresses[0, 2] in (0, state["exp_avg"].data_ptr())
        seen.append(
            (worst, probe.complete, probe.common, probe.rows[0], probe.status[0], state_fits)
        )
    assert seen[0] == seen[1]
