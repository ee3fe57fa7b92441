"""How sparse gradients are used and misused: duplicates, bad rows, checkpoints, copies, threads."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends.cpu.rows import row_table
from adamantine.backends.cpu.threads import parallel, team
from contract import clones, parameters
from sparse_cases import (
    NAMES,
    ROWS,
    WIDTH,
    assert_like_dense,
    coo,
    embedding,
    every_backend,
    every_variant,
    feed,
    gradients,
    torch_may_warn,
)

pytestmark = torch_may_warn


@every_backend
@pytest.mark.parametrize("mode", ["lazy", "exact"])
def test_duplicates_add_up(mode: str, backend: str) -> None:
    random = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 3000, (5000,), generator=random) ** 2  # collisions in any hash
    values = torch.randn(5000, 2, generator=random)
    results = []
    for grad in (coo(indices, values, (9_000_000, 2)), None):
        param = nn.Parameter(torch.zeros(9_000_000, 2))
        if grad is None:
            grad = coo(indices, values, (9_000_000, 2)).coalesce()
        optimizer = adamantine.SGD([param], lr=1.0, sparse=mode, backend=backend)
        feed(optimizer, param, [grad])
        results.append(param.detach()[indices])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    exact = torch.zeros(9_000_000, 2, dtype=torch.float64).index_add_(0, indices, values.double())
    torch.testing.assert_close(results[0].double(), -exact[indices], rtol=1e-5, atol=1e-5)


BAD: dict[str, tuple[Callable[[], Tensor], str]] = {
    "too large": (
        lambda: coo(torch.tensor([1, ROWS]), torch.ones(2, WIDTH), (ROWS, WIDTH)),
        "has index 40 in",
    ),
    "negative": (
        lambda: coo(torch.tensor([1, -1]), torch.ones(2, WIDTH), (ROWS, WIDTH)),
        "has index -1 in",
    ),
}


@every_backend
@pytest.mark.parametrize("mode", ["lazy", "exact"])
@pytest.mark.parametrize("bad", BAD)
def test_bad_rows_are_refused_before_anything_is_written(bad: str, mode: str, backend: str) -> None:
    dense, table = parameters(9, (ROWS, WIDTH))
    optimizer = adamantine.Adam([dense, table], sparse=mode, backend=backend)
    good = coo(torch.tensor([1]), torch.ones(1, WIDTH), (ROWS, WIDTH))
    dense.grad, table.grad = torch.ones(9), good
    optimizer.step()
    before = copy.deepcopy([dense, table, *optimizer.state[dense].values()])
    before += copy.deepcopy(list(optimizer.state[table].values()))
    make, message = BAD[bad]
    table.grad = make()
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    after = [dense, table, *optimizer.state[dense].values(), *optimizer.state[table].values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    table.grad = good
    optimizer.step()
    assert float(optimizer.state[table]["step"]) == 2


def test_gradient_of_another_shape_is_refused() -> None:
    (table,) = parameters((ROWS, WIDTH))
    optimizer = adamantine.Adam([table], sparse="lazy")
    table.grad = coo(torch.tensor([1]), torch.ones(1, WIDTH), (ROWS, WIDTH))
    table.data = torch.zeros(ROWS + 1, WIDTH)
    with pytest.raises(RuntimeError, match=r"shape \(41, 7\) has a sparse gradient of shape"):
        optimizer.step()
    table.data = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    optimizer.state.clear()
    with pytest.raises(RuntimeError, match=r"torch.float64 parameter .* gradient of torch.float32"):
        optimizer.step()


def test_state_of_another_shape_is_refused() -> None:
    (table,) = parameters((ROWS, WIDTH))
    optimizer = adamantine.Adam([table], sparse="exact")
    feed(optimizer, table, gradients(2))
    table.data = torch.zeros(ROWS + 1, WIDTH)
    table.grad = coo(torch.tensor([ROWS]), torch.ones(1, WIDTH), (ROWS + 1, WIDTH))
    with pytest.raises(RuntimeError, match=r"the state 'exp_avg' of .* but its parameter is"):
        optimizer.step()


def test_dense_and_sparse_share_a_group() -> None:
    results = []
    for sparse in (True, False):
        dense, table, other = clones(parameters(33, (ROWS, WIDTH), (4, 5), dtype=torch.float64))
        groups = [{"params": [dense, table]}, {"params": [other], "lr": 1e-2, "sparse": "lazy"}]
        optimizer = adamantine.AdamW(groups, sparse="exact")
        for step, grad in enumerate(gradients(50, dtype=torch.float64)):
            dense.grad = torch.full_like(dense, math.sin(step))
            table.grad = grad if sparse else grad.to_dense()
            other.grad = torch.full_like(other, math.cos(step))
            optimizer.step()
        optimizer.flush()
        results.append([dense, table, other])
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-8)


@every_variant
def test_checkpoint_in_the_middle(name: str, kwargs: dict[str, Any]) -> None:
    grads = gradients(60)
    (start,) = parameters((ROWS, WIDTH))
    (ours,), (dense,) = clones([start]), clones([start], torch.float64)
    optimizer = getattr(adamantine, name)([ours], lr=1e-2, sparse="exact", **kwargs)
    feed(optimizer, ours, grads[:30])
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)
    assert all(group["sparse"] == "exact" for group in saved["param_groups"])
    (mine,), (theirs,) = clones([ours]), clones([ours])
    resumed = getattr(adamantine, name)([mine], lr=1e-2, sparse="exact", **kwargs)
    resumed.load_state_dict(copy.deepcopy(saved))
    assert resumed.param_groups[0]["sparse"] == "exact"
    feed(resumed, mine, grads[30:])
    in_torch = getattr(torch.optim, name)([theirs], lr=1e-2, **kwargs)
    in_torch.load_state_dict(copy.deepcopy(saved))
    feed(in_torch, theirs, grads[30:], dense=True)
    oracle = getattr(torch.optim, name)([dense], lr=1e-2, **kwargs)
    feed(oracle, dense, [g.double() for g in grads], dense=True)
    assert_like_dense(resumed, oracle, 1e-5, 1e-6)
    assert_like_dense(in_torch, oracle, 1e-5, 1e-6)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@every_variant
def test_copies_go_on_alike(
    name: str, kwargs: dict[str, Any], copier: Callable[[Any], Any]
) -> None:
    grads = gradients(60)
    (param,) = parameters((ROWS, WIDTH))
    optimizer = getattr(adamantine, name)([param], lr=1e-2, sparse="exact", **kwargs)
    feed(optimizer, param, grads[:30])
    twin, other = copier((param, optimizer))
    feed(optimizer, param, grads[30:])
    feed(other, twin, grads[30:])
    optimizer.flush()
    other.flush()
    assert torch.equal(param, twin)
    assert param.data_ptr() != twin.data_ptr()


@pytest.mark.parametrize("mode", ["lazy", "exact"])
@every_variant
def test_same_bits_for_any_number_of_threads(
    name: str, kwargs: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for smallest in ("SMALLEST", "PER_THREAD"):
        monkeypatch.setattr(parallel, smallest, 1)
    monkeypatch.setattr(row_table, "MIN_PER_THREAD", 4 * WIDTH)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, torchs in ((1, True), (2, True), (3, True), (2, False)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(team, "_forked", not torchs)
            (param,) = parameters((500, WIDTH))
            optimizer = getattr(adamantine, name)([param], lr=1e-2, sparse=mode, **kwargs)
            feed(optimizer, param, gradients(30, touched=200, rows=500))
            optimizer.flush()
            results.append(param)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("mode", ["lazy", "exact"])
@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow), torch.complex64],
    ids=str,
)
def test_other_dtypes(dtype: torch.dtype, mode: str) -> None:
    (start,) = parameters((ROWS, WIDTH), dtype=dtype)
    (ours,), (other,) = clones([start]), clones([start])
    optimizer = adamantine.Adam([ours], lr=1e-2, eps=1e-4, sparse=mode)
    oracle = adamantine.Adam([other], lr=1e-2, eps=1e-4, sparse=mode, backend="reference")
    grads = gradients(20, dtype=dtype)
    feed(optimizer, ours, grads)
    feed(oracle, other, grads)
    optimizer.flush()
    oracle.flush()
    torch.testing.assert_close(ours, other, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("mode", ["lazy", "exact"])
@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@every_backend
def test_any_number_of_sparse_dimensions(mode: str, dims: int, backend: str) -> None:
    random = torch.Generator().manual_seed(5)
    shape = (4, 3, 2)
    start = nn.Parameter(torch.randn(shape, generator=random))
    (ours,), (dense,) = clones([start]), clones([start])
    optimizer = adamantine.Adam([ours], lr=1e-2, sparse=mode, backend=backend)
    oracle = adamantine.Adam([dense], lr=1e-2)
    for _ in range(10):
        full = torch.randn(shape, generator=random)
        grad = full.to_sparse(dims) if dims else coo(torch.zeros(0, 1).long(), full[None], shape)
        if mode == "exact" and dims:
            grad = grad.coalesce()
            full = full.clone()
            half = len(grad.values()) // 2
            grad = coo(grad.indices()[:, :half], grad.values()[:half], shape)
            full = grad.to_dense()
        ours.grad, dense.grad = grad, full
        optimizer.step()
        oracle.step()
    optimizer.flush()
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
def test_strides_and_shared_memory(transposed: bool) -> None:
    (start,) = parameters((WIDTH, ROWS) if transposed else (ROWS, 2 * WIDTH))
    memory = start.detach().clone()
    param = nn.Parameter(memory.t() if transposed else memory[:, :WIDTH])
    optimizer = adamantine.Adam([param], lr=1e-2, sparse="exact")
    dense = nn.Parameter(param.detach().clone().contiguous())
    oracle = adamantine.Adam([dense], lr=1e-2)
    feed(optimizer, param, gradients(30))
    feed(oracle, dense, gradients(30), dense=True)
    optimizer.flush()
    torch.testing.assert_close(param, dense, rtol=1e-5, atol=1e-6)
    if not transposed:
        assert torch.equal(memory[:, WIDTH:], start[:, WIDTH:])
    with pytest.raises(RuntimeError, match=r"contiguous|gaps"):
        feed(adamantine.Adam([param], sparse="lazy", backend="cpu"), param, gradients(1))


def test_none_is_what_torch_does() -> None:
    grads = gradients(30)
    for name in ("Adam", "AdamW"):
        messages = []
        for module in (torch.optim, adamantine):
            (param,) = parameters((ROWS, WIDTH))
            with pytest.raises(RuntimeError) as refused:
                feed(getattr(module, name)([param]), param, grads[:1])
            messages.append(str(refused.value))
        assert messages[1].startswith(messages[0])
        assert "sparse='exact'" in messages[1]
    for name, kwargs in (
        ("SGD", {}), ("SGD", {"momentum": 0.9, "dampening": 0.5}),
        ("SGD", {"momentum": 0.9, "nesterov": True}), ("Adagrad", {"lr_decay": 0.1}),
    ):  # fmt: skip
        results = []
        for module in (torch.optim, adamantine):
            (param,) = parameters((ROWS, WIDTH))
            feed(getattr(module, name)([param], lr=0.1, **kwargs), param, grads)
            results.append(param)
        torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    for name in ("SGD", "Adagrad"):
        messages = []
        for module in (torch.optim, adamantine):
            (param,) = parameters((ROWS, WIDTH))
            with pytest.raises(RuntimeError) as refused:
                feed(getattr(module, name)([param], weight_decay=0.1), param, grads[:1])
            messages.append(str(refused.value))
        assert messages[1].startswith(messages[0])


def test_sgd_is_told_of_sparse_gradients_after_dense_ones() -> None:
    results = []
    for module in (torch.optim, adamantine):
        (param,) = parameters((ROWS, WIDTH))
        optimizer = module.SGD([param], lr=0.1)
        feed(optimizer, param, gradients(3), dense=True)
        feed(optimizer, param, gradients(3))
        results.append(param)
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("name", NAMES)
def test_unknown_modes_are_refused(name: str) -> None:
    params = parameters(3, 4)
    with pytest.raises(ValueError, match="unknown sparse='eager'; choose 'lazy' or 'exact'"):
        getattr(adamantine, name)(params, sparse="eager")
    with pytest.raises(ValueError, match="unknown sparse=True"):
        getattr(adamantine, name)([{"params": params, "sparse": True}])


@pytest.mark.parametrize("switch", ["differentiable", "cautious"])
def test_what_needs_whole_tensors_is_refused(switch: str) -> None:
    (param,) = parameters((ROWS, WIDTH))
    optimizer = adamantine.Adam([param], sparse="lazy", **{switch: True})
    with pytest.raises(RuntimeError, match=f"{switch}=True does not go with sparse"):
        feed(optimizer, param, gradients(1))


def test_accumulated_gradients() -> None:
    """Two backward passes leave one uncoalesced gradient with the indices of both."""
    results = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(9, 3, sparse=sparse)
        optimizer = adamantine.Adam(table.parameters(), lr=0.1, sparse="exact")
        for _ in range(4):
            optimizer.zero_grad()
            for rows in ([1, 2, 2], [2, 8]):
                table(torch.tensor(rows)).square().sum().backward()
            optimizer.step()
        optimizer.flush()
        results.append(table.weight)
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_autograd_is_told_of_rows_that_were_written() -> None:
    table, optimizer = embedding()
    loss = table.weight.square().sum()
    optimizer.flush()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
