"""Many tables in one step: as torch's, whichever take part, wherever they lie."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends.cpu.probe import tensor_probe
from adamantine.backends.cpu.rows import kernels as rows
from adamantine.backends.cpu.rows import row_arguments
from adamantine.backends.cpu.table import table
from contract import clones, parameters
from sparse_cases import coo, torch_may_warn

pytestmark = torch_may_warn

SHAPES = ((40, 7), (3, 1), (1000, 16), (6, 2, 3), (1, 1))
LIKE_TORCH: dict[str, tuple[Any, Any]] = {
    "SGD": (adamantine.SGD, torch.optim.SGD),
    "Adagrad": (adamantine.Adagrad, torch.optim.Adagrad),
    "Adam": (lambda groups: adamantine.Adam(groups, sparse="lazy"), torch.optim.SparseAdam),
}


def drawn(step: int, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor | None]:
    """Gradients of a step: some tables have none, or an empty one; some are coalesced."""
    random = torch.Generator().manual_seed(step)
    found: list[Tensor | None] = []
    for table_, shape in enumerate(shapes):
        count = (step * 7 + table_ * 3) % 11 if (step + table_) % 4 else 600
        indices = torch.randint(shape[0], (count,), generator=random)
        grad = coo(indices, torch.randn(count, *shape[1:], generator=random), shape)
        grad = grad.coalesce() if (step + table_) % 3 == 0 else grad
        found.append(None if (step + table_) % 5 == 1 and step > 1 else grad)
    return found


def give(params: list[nn.Parameter], grads: list[Tensor | None]) -> None:
    for param, grad in zip(params, grads, strict=True):
        param.grad = None if grad is None else grad.clone()


@pytest.fixture(params=["in C", "in Python"])
def probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read addresses: as this torch does, and as older ones do."""
    if request.param == "in Python":
        monkeypatch.setattr(row_arguments, "exporter", lambda: 0)
        monkeypatch.setattr(tensor_probe.compiled, "exporter", lambda: 0)


@pytest.mark.parametrize("name", LIKE_TORCH)
def test_tables_of_several_groups_as_torchs(name: str, probe: None) -> None:
    ours, theirs = clones(parameters(*SHAPES)), clones(parameters(*SHAPES))
    for params, build in zip((ours, theirs), LIKE_TORCH[name], strict=True):
        optimizer = build([{"params": params[:2], "lr": 0.3}, {"params": params[2:], "lr": 0.01}])
        for step in range(12):
            give(params, drawn(step))
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["lazy", "exact"])
def test_tables_that_move_go_on_with_the_same_bits(mode: str, probe: None) -> None:
    results = []
    for moves in (False, True):
        params = clones(parameters(*SHAPES))
        optimizer = adamantine.Adam(params, lr=0.1, sparse=mode)
        for step in range(8):
            give(params, drawn(step))
            if moves and step > 1:
                kept = [p.data for p in params]  # so that nothing comes to lie where it was
                params[step % 5].data = params[step % 5].data.clone()
                state = optimizer.state[params[2]]
                state["exp_avg"] = state["exp_avg"].clone()
            optimizer.step()
        optimizer.flush()
        results.append([*params, *(s["exp_avg"] for s in optimizer.state.values())])
    assert kept
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_tables_in_the_same_memory_are_updated_one_after_the_other() -> None:
    results = []
    for backend in ("auto", "reference"):
        memory = torch.linspace(-1, 1, 60).view(20, 3).clone()
        params = [nn.Parameter(part) for part in (memory, memory[5:15], memory[14:])]
        optimizer = adamantine.SGD(params, lr=0.1, backend=backend)
        for _ in range(2):
            for param in params:
                indices = torch.arange(len(param))
                param.grad = coo(indices, torch.ones(len(param), 3), tuple(param.shape))
            optimizer.step()
        results.append(memory)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("resized", ["param", "state"])
def test_storage_that_was_resized_away_is_an_error(resized: str) -> None:
    params = clones(parameters((40, 7), (50, 3)))
    optimizer = adamantine.Adam(params, sparse="lazy")
    for step in range(2):
        give(params, drawn(step, ((40, 7), (50, 3))))
        optimizer.step()
    tensor = params[1] if resized == "param" else optimizer.state[params[1]]["exp_avg"]
    tensor.untyped_storage().resize_(0)
    before = params[0].detach().clone()
    give(params, drawn(4, ((40, 7), (50, 3))))
    with pytest.raises(RuntimeError, match="storage was resized"):
        optimizer.step()
    assert torch.equal(params[0], before)


def test_gradients_of_a_refused_step_are_forgotten() -> None:
    first, second = params = clones(parameters((9, 2), (9, 2)))
    optimizer = adamantine.SGD(params, lr=1.0)
    good = coo(torch.tensor([1]), torch.ones(1, 2), (9, 2))
    give(params, [good, good])
    optimizer.step()
    give(params, [good, coo(torch.tensor([9]), torch.ones(1, 2), (9, 2))])
    before = first.detach().clone()
    with pytest.raises(RuntimeError, match="has index 9 in"):
        optimizer.step()
    give(params, [None, good])
    optimizer.step()
    assert torch.equal(first, before)
    assert second.grad is not None


def test_values_with_gaps_or_a_lazy_sign_are_read_as_they_are() -> None:
    for values in (torch.arange(8.0).view(2, 4).t(), torch._neg_view(torch.arange(8.0).view(4, 2))):
        param = nn.Parameter(torch.zeros(9, 2))
        param.grad = coo(torch.tensor([3, 1, 3, 8]), values, (9, 2))
        expected = -param.grad.to_dense()
        adamantine.SGD([param], lr=1.0).step()
        assert torch.equal(param, expected)


def test_only_what_is_used_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with sparse gradients alone need no kernel of whole tensors, lazy ones no sums."""

    def refuse(*_: Any) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(table, "compiled", refuse)
    monkeypatch.setattr(rows, "compiled_record", refuse)
    params = clones(parameters(*SHAPES))
    optimizer = adamantine.Adam(params, sparse="lazy")
    for step in range(3):
        give(params, drawn(step))
        optimizer.step()
    params[0].grad = torch.ones_like(params[0])
    with pytest.raises(AssertionError, match="compiled"):
        optimizer.step()
