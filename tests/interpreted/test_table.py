"""The table of ``backends/gpu``: what is sent when, and tensors that are not what they were."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device import DEVICE, INTERPRETED, parameters
from torch import Tensor, nn

import adamantine
from adamantine.backends.gpu import chunks, step_words, streams
from adamantine.backends.gpu.kernel import compiling, counters
from adamantine.backends.gpu.kernel.memory import TILE
from adamantine.backends.gpu.streams import Readback
from adamantine.errors import BackendError, NonFiniteError
from contract import clones, train


def pair_of(start: list[nn.Parameter], **settings: Any) -> list[tuple[Any, list[nn.Parameter]]]:
    found = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        found.append((adamantine.Adam(params, backend=backend, **settings), params))
    return found


def assert_alike(pair: list[tuple[Any, list[nn.Parameter]]]) -> None:
    (_, ours), (_, theirs) = pair
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words each copy to the device has."""
    found: list[int] = []
    pinned = step_words.streams.pinned

    def noted(words: int, device: torch.device) -> Tensor:
        found.append(words)
        return pinned(words, device)

    monkeypatch.setattr(step_words.streams, "pinned", noted)
    return found


def test_only_what_changed_is_sent(sent: list[int]) -> None:
    params = parameters(5, 7)
    optimizer = adamantine.Adam(params, backend="gpu")
    grads = [torch.randn_like(p) for p in params]
    for _ in range(2):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optimizer.step()
    sent.clear()
    optimizer.step()
    scalars = len(optimizer._plan._tables[0]._rule.scalars)
    assert sent == [scalars + scalars % 2], "Adam's scalars differ in each step, nothing else does"
    sent.clear()
    params[0].grad = torch.randn(5, device=DEVICE)
    optimizer.step()
    assert len(sent) == 1, "one copy for addresses and scalars"
    assert sent[0] > scalars + scalars % 2


def test_nothing_is_sent_where_the_device_counts(sent: list[int]) -> None:
    params = parameters(5, 7)
    optimizer = adamantine.Adam(params, backend="gpu", capturable=True)
    train(optimizer, params, 1)
    optimizer.step()
    sent.clear()
    optimizer.step()
    assert sent == []
    optimizer.param_groups[0]["eps"] = 0.5
    optimizer.step()
    assert len(sent) == 1, "what no counter is in"


@pytest.mark.parametrize("capturable", [False, True])
def test_a_step_does_not_wait_for_the_device(
    monkeypatch: pytest.MonkeyPatch, capturable: bool
) -> None:
    """Nor does one that clips, skips, measures and zeroes: no number comes back."""
    params = parameters(5, 7, TILE + 1)
    optimizer = adamantine.Adam(
        params, backend="gpu", capturable=capturable, max_grad_norm=1.0, skip_nonfinite=True,
        collect_stats=True, zero_grad="zeros", cautious=True, state_dtype="int8",
    )  # fmt: skip
    train(optimizer, params, 2)
    for param in params:
        param.grad = torch.randn_like(param)
    launches = []
    with monkeypatch.context() as patched:
        # The interpreter itself reads arrays.
        patched.setattr(compiling.Launch, "launch", lambda self, *_: launches.append(self))
        patched.setattr(counters, "_launch", lambda kernel, *_: launches.append(kernel))
        for name in ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__"):
            patched.setattr(Tensor, name, _refuse)
        patched.setattr(step_words.StepWords, "_write", lambda *_: None)  # to pinned memory
        patched.setattr(Readback, "arrived", lambda _: None)  # it is still on its way
        optimizer.step()
    names = [kernel.constants["NAME"] for kernel in launches if hasattr(kernel, "constants")]
    assert sum(name.startswith("cautious_adam") and "collect" in name for name in names) == 1


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("the host waits for the device")


def test_a_learning_rate_in_a_tensor_and_groups() -> None:
    start = parameters(5, 7, TILE + 3)
    pair = []
    for backend in ("gpu", "reference"):
        params = clones(start)
        groups = [
            {"params": params[:1], "lr": torch.tensor(0.1), "weight_decay": 0.1},
            {"params": params[1:], "betas": (0.5, 0.9)},
        ]
        pair.append((adamantine.AdamW(groups, backend=backend), params))
    for step in range(4):
        for optimizer, params in pair:
            train(optimizer, params, 1, seed=step)
            optimizer.param_groups[0]["lr"].mul_(0.5)
            optimizer.param_groups[1]["lr"] *= 0.9
    assert_alike(pair)


@pytest.mark.parametrize("options", [{}, {"skip_nonfinite": True}], ids=["host", "device"])
def test_groups_of_which_some_begin_later(options: dict[str, Any]) -> None:
    """Counts that differ from tensor to tensor, in groups that are not in the tensors' order."""
    pair = []
    for backend in ("gpu", "reference"):
        params = parameters(5, 7, 3, 9)
        groups = [{"params": params[1::2], "lr": 0.1}, {"params": params[::2], "weight_decay": 0.1}]
        pair.append((adamantine.Adam(groups, backend=backend, **options), params))
    for step in range(6):
        for optimizer, params in pair:
            for index, param in enumerate(params):
                generator = torch.Generator().manual_seed(10 * step + index)
                grad = torch.randn(param.shape, generator=generator).to(DEVICE)
                param.grad = grad if step % (index + 1) == 0 else None
            optimizer.step()
    assert_alike(pair)
    for param, other in zip(pair[0][1], pair[1][1], strict=True):
        assert pair[0][0].state[param]["step"] == pair[1][0].state[other]["step"]


def test_tensors_that_are_not_what_they_were() -> None:
    """Moved, replaced, of other strides, another dtype: as the reference, each time."""
    pair = pair_of(parameters((4, 6), (6, 4), TILE + 5))

    def move(params: list[nn.Parameter]) -> None:
        params[2].data = params[2].data.clone()

    def transpose_gradient(params: list[nn.Parameter]) -> None:
        params[0].grad = params[0].grad.t().contiguous().t()

    def misalign(params: list[nn.Parameter]) -> None:
        memory = torch.empty(TILE + 8, device=DEVICE)
        memory[3:].copy_(params[2].data)
        params[2].data = memory[3:]

    def replace_state(params: list[nn.Parameter], optimizer: Any) -> None:
        state = optimizer.state[params[1]]
        state["exp_avg"] = state["exp_avg"].clone() * 2

    def sparse(params: list[nn.Parameter]) -> None:
        params[1].grad = None

    for change in (move, transpose_gradient, misalign, replace_state, sparse):
        for optimizer, params in pair:
            train(optimizer, params, 1)
            if change is replace_state:
                change(params, optimizer)
            else:
                change(params)
            optimizer.step()
        assert_alike(pair)


def test_states_that_share_memory_are_updated_one_by_one() -> None:
    memory = torch.randn(10, device=DEVICE)
    pair = []
    for backend in ("auto", "reference"):
        base = memory.clone()
        params = [nn.Parameter(base[:6]), nn.Parameter(base[4:])]
        pair.append((adamantine.SGD(params, lr=0.1, backend=backend), params))
    for optimizer, params in pair:
        train(optimizer, params, 3)
    assert_alike(pair)


def test_what_it_cannot_take_is_refused_with_the_reason() -> None:
    for param, why in (
        (nn.Parameter(torch.randn(4, 4, device=DEVICE)[:, ::2]), "gaps"),
        (nn.Parameter(torch.zeros(4, device=DEVICE).to(torch.float8_e4m3fn)), "float8"),
    ):
        param.grad = torch.zeros_like(param)
        optimizer = adamantine.SGD([param], lr=0.1, backend="gpu")
        with pytest.raises(BackendError, match=rf"backend='gpu'.*{why}.*use backend='auto'"):
            optimizer.step()


def test_a_second_backward_through_old_values_is_an_error() -> None:
    weight = nn.Parameter(torch.randn(3, device=DEVICE))
    optimizer = adamantine.SGD([weight], lr=0.1, backend="gpu")
    loss = (weight * weight).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_checkpoints_go_to_torch_and_back_with_counters_on_the_device() -> None:
    params = parameters(5, TILE + 1)
    ours = adamantine.Adam(params, backend="gpu", capturable=True)
    train(ours, params, 3)
    others = clones(params)
    theirs = torch.optim.Adam(others)
    saved = copy.deepcopy(ours.state_dict())
    for group in saved["param_groups"]:
        group["capturable"] = False  # torch refuses it on the CPU
    theirs.load_state_dict(saved)
    again = adamantine.Adam(params, backend="gpu")
    again.load_state_dict(copy.deepcopy(theirs.state_dict()))
    train(again, params, 3, seed=2)
    train(theirs, others, 3, seed=2)
    torch.testing.assert_close(params, others)


def test_chunks_cover_everything_once_and_follow_the_work() -> None:
    for sizes in ([0, 1, TILE, 5 * TILE + 7], [100] * 50, [1 << 22]):
        for processors in (1, 7, 108):
            chunk = chunks.chunk_elements(sum(sizes), TILE, processors)
            table = chunks.cut(sizes, [None] * len(sizes), chunk, TILE)
            assert chunk % TILE == 0
            for tensor, size in enumerate(sizes):
                rows = table[table[:, 0] == tensor]
                ends = np.append(rows[:, 1], size)
                assert rows[:, 2].sum() == size
                assert (np.diff(ends) == rows[:, 2]).all() or not size
            assert (
                table[:, 4] == np.cumsum(-(-table[:, 2] // TILE)) - -(-table[:, 2] // TILE)
            ).all()
    few, many = (chunks.chunk_elements(n, TILE, 108) for n in (100_000, 1 << 28))
    assert few == TILE, "a small model is spread over all processors"
    assert many == chunks.LARGEST * TILE


@pytest.mark.parametrize("processors", [1, 16])
def test_the_same_bits_for_every_chunk_size(
    monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    """Of numbers, norms and rounding, with one program or many."""
    results = []
    for programs in (1, processors):
        monkeypatch.setattr(
            "adamantine.backends.gpu.table.streams.processors", lambda _, n=programs: n
        )
        params = parameters(3 * TILE + 5, 40)
        optimizer = adamantine.Adam(
            params, backend="gpu", max_grad_norm=0.1, state_dtype="int8", cautious=True,
            collect_stats=True,
        )  # fmt: skip
        train(optimizer, params, 3)
        results.append((params, optimizer.grad_norm, optimizer.stats()))
    (params, norm, stats), (others, other_norm, other_stats) = results
    assert all(map(torch.equal, params, others))
    assert (norm, stats) == (other_norm, other_stats)


def test_a_table_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose look at tensors is in Python."""
    monkeypatch.setattr("adamantine.backends.cpu.probe.tensor_probe.compiled", None)
    pair = pair_of(parameters(5, 7, TILE + 1), max_grad_norm=1.0)
    for optimizer, params in pair:
        train(optimizer, params, 3)
        params[2].data = params[2].data.clone()
        params[0].grad = None
        optimizer.step()
    assert_alike(pair)


@pytest.mark.skipif(not INTERPRETED, reason="of streams that are pretended")
def test_what_another_stream_reads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients, and the table's own, which the next table may follow at once."""
    stream, kept = "first", []
    keep = streams.keep
    monkeypatch.setattr(streams, "current", lambda _: stream)

    def noted(tensors: Any, _: Any, made_on: Any = None) -> None:
        stubs = [SimpleNamespace(record_stream=lambda s, t=t: kept.append((t, s))) for t in tensors]
        keep(stubs, torch.device("xpu"), made_on)  # type: ignore[arg-type]

    monkeypatch.setattr(streams, "keep", noted)
    params = parameters(5, 7)
    optimizer = adamantine.Adam(params, backend="gpu")
    for stream in ("first", "second"):
        kept.clear()
        train(optimizer, params, 1)
        found = [t for t, s in kept if s == stream]
        assert all(any(t is p.grad for t in found) for p in params)
        table = optimizer._plan._tables[0]
        own = any(t is table._chunks for t in found)
        assert own == (stream == "second")


@pytest.mark.skipif(not INTERPRETED, reason="a GPU tells when it likes")
def test_too_many_skipped_steps_are_an_error_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the device tells of them, and not again while nothing else is known."""
    params = parameters(5)
    optimizer = adamantine.Adam(params, backend="gpu", skip_nonfinite=2)
    arrived, steps = Readback.arrived, 0

    def late(found: Readback) -> Tensor | None:
        return arrived(found) if steps % 4 == 0 else None

    monkeypatch.setattr(Readback, "arrived", late)
    raised = []
    for steps in range(1, 14):
        params[0].grad = torch.full_like(params[0], math.nan if steps < 7 else 1.0)
        try:
            optimizer.step()
        except NonFiniteError as error:
            raised.append((steps, str(error)))
    ((step, message),) = raised
    assert step == 8
    assert message.startswith("5 steps in a row")
    assert "those of steps before this one" in message
    assert optimizer.skipped_steps == 6


def test_a_first_step_that_the_device_leaves_out() -> None:
    """The next one is the first, of the same table or of another."""
    for other_table in (False, True):
        pair = []
        for backend in ("gpu", "reference"):
            params = parameters(5, 7)
            optimizer = adamantine.SGD(
                params, lr=0.1, momentum=0.9, dampening=0.5, backend=backend, skip_nonfinite=True
            )
            for param in params:
                param.grad = torch.full_like(param, math.nan)
            optimizer.step()
            assert not optimizer.state_dict()["state"]
            if other_table:
                optimizer.add_param_group({"params": parameters(3)})
            train(optimizer, params, 2)
            pair.append((optimizer, params))
        assert_alike(pair)


@pytest.mark.parametrize("options", [{}, {"skip_nonfinite": True}], ids=["host", "device"])
def test_another_default_device(options: dict[str, Any]) -> None:
    """``torch.set_default_device`` says nothing of where a table is."""
    settings = {"state_dtype": "int8", "cautious": True, "max_grad_norm": 1.0, **options}
    params = parameters(5, TILE + 1)
    optimizer = adamantine.Adam(params, backend="gpu", collect_stats=True, **settings)
    grads = [torch.ones_like(p) for p in params]
    for _ in range(2):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        with torch.device("meta"):
            optimizer.step()
            optimizer.stats()
