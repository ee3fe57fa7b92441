"""SOAP beside the package ``pytorch_optimizer``, which has the authors' code, and by itself."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import BackendError, HyperparameterError, UsageError
from contract import clones, parameters, train

SETTINGS: list[dict[str, Any]] = [
    {},
    {"precondition_frequency": 1, "betas": (0.8, 0.9)},
    {"precondition_frequency": 3, "shampoo_beta": 0.8, "eps": 1e-3},
    {"max_precond_dim": 7, "precondition_frequency": 2},
    {"max_precond_dim": 2},
    {"maximize": True, "precondition_frequency": 4},
]


def of_peer(params: list[nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    peer = pytest.importorskip("pytorch_optimizer").SOAP
    names = {"max_precond_dim": "max_precondition_dim"}
    return peer(params, **{names.get(name, name): value for name, value in settings.items()})


@pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_as_the_authors_code(settings: dict[str, Any], backend: Any) -> None:
    """Of matrices whose first gradient has full rank on each side that has a basis.

    Where it has not, eigenvectors are what rounding makes of them.
    """
    shapes: list[Any] = [(6, 6), (7, 7), (6, 6), 5, ()]
    if settings.get("max_precond_dim") == 7:
        shapes.append((5, 12))
    start = parameters(*shapes[:3], *shapes[5:], 5, dtype=torch.float64)
    ours, theirs = clones(start), clones(start)
    optimizer = adamantine.SOAP(ours, lr=0.02, weight_decay=0.0, backend=backend, **settings)
    other = of_peer(theirs, lr=0.02, weight_decay=0.0, **settings)
    train(optimizer, ours, 20)
    train(other, theirs, 20)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
    assert not torch.equal(ours[0], start[0])


def test_convolutions_are_matrices_and_three_dimensions_batches() -> None:
    (kernel, batch) = parameters((6, 2, 3), (4, 5, 5), dtype=torch.float64)
    cases = [
        ([{"params": [kernel], "flatten": True}], lambda g: [g.flatten(1)]),
        ([batch], list),
    ]
    for given, parts in cases:
        param = given[0]["params"][0] if isinstance(given[0], dict) else given[0]  # type: ignore[index]
        alone = [nn.Parameter(p.clone()) for p in parts(param.detach())]
        whole = adamantine.SOAP(given, lr=0.1, precondition_frequency=2)
        single = adamantine.SOAP(alone, lr=0.1, precondition_frequency=2)
        generator = torch.Generator().manual_seed(0)
        for _ in range(7):
            param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            for one, grad in zip(alone, parts(param.grad), strict=True):
                one.grad = grad.clone()
            whole.step()
            single.step()
        expected = torch.stack([p.detach() for p in alone]).view(param.shape)
        torch.testing.assert_close(param.detach(), expected, rtol=1e-8, atol=1e-8)


def test_decay_is_decoupled_and_the_first_step_changes_nothing() -> None:
    start = parameters((4, 4), 3, dtype=torch.float64)
    plain, decaying = clones(start), clones(start)
    a = adamantine.SOAP(plain, lr=0.1, weight_decay=0.0)
    b = adamantine.SOAP(decaying, lr=0.1, weight_decay=0.5)
    train(a, plain, 1)
    train(b, decaying, 1)
    assert all(map(torch.equal, plain, start))
    assert all(map(torch.equal, decaying, start))
    train(a, plain, 1, seed=2)
    train(b, decaying, 1, seed=2)
    for p, q, s in zip(plain, decaying, start, strict=True):
        torch.testing.assert_close(q, p - 0.1 * 0.5 * s)


def test_bases_stay_orthogonal_and_find_the_eigenvectors() -> None:
    (param,) = parameters((5, 9))
    optimizer = adamantine.SOAP([param], lr=1e-3, precondition_frequency=1)
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    spread = torch.tensor([16.0, 8.0, 4.0, 2.0, 1.0])
    for _ in range(200):
        param.grad = turn * spread @ torch.randn(5, 9, generator=generator)
        optimizer.step()
    state = optimizer.state[param]
    for basis, side in (("Q_L", 5), ("Q_R", 9)):
        found = state[basis]
        torch.testing.assert_close(found.T @ found, torch.eye(side), rtol=1e-5, atol=1e-5)
    values = torch.diag(state["Q_L"].T @ state["L"] @ state["Q_L"])
    exact = torch.linalg.eigvalsh(state["L"]).flip(0)
    torch.testing.assert_close(values, exact, rtol=0.05, atol=0.05)


def test_state_shapes_and_dtypes() -> None:
    params = parameters((4, 6), (3, 4, 5), (6, 2, 3, 3), 7, dtype=torch.bfloat16)
    optimizer = adamantine.SOAP(params, max_precond_dim=17)
    train(optimizer, params, 3)
    shapes = [
        {name: tuple(value.shape) for name, value in optimizer.state[p].items()} for p in params
    ]
    assert {n: s for n, s in shapes[0].items() if n in "LRQ_LQ_R"} == {
        "L": (4, 4), "R": (6, 6), "Q_L": (4, 4), "Q_R": (6, 6)
    }  # fmt: skip
    assert shapes[1]["L"] == (3, 4, 4)
    assert shapes[1]["Q_R"] == (3, 5, 5)
    assert shapes[2]["L"] == (6, 6)
    assert shapes[2]["R"] == (0, 0)
    assert shapes[3].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert optimizer.state[params[0]]["Q_L"].dtype == torch.float32


@pytest.mark.parametrize("master", [None, "float32", "24bit"])
def test_a_checkpoint_goes_on_with_the_same_bits(master: Any) -> None:
    dtype = torch.float32 if master is None else torch.bfloat16
    start = parameters((6, 6), (5, 8), 4, dtype=dtype)
    one, other = clones(start), clones(start)
    settings: dict[str, Any] = {"lr": 0.01, "precondition_frequency": 2, "master": master}
    optimizer = adamantine.SOAP(one, **settings)
    train(optimizer, one, 5)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    for p, q in zip(one, other, strict=True):
        q.data.copy_(p.data)
    twin = adamantine.SOAP(other, **settings)
    twin.load_state_dict(torch.load(buffer))
    copied_params, copied = copy.deepcopy((one, optimizer))
    for params, stepping in ((one, optimizer), (other, twin), (copied_params, copied)):
        train(stepping, params, 5, seed=3)
    for p, *others in zip(one, other, copied_params, strict=True):
        assert all(torch.equal(p, q) for q in others)


def test_same_bits_for_any_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters((120, 120), (64, 7), 300)
            train(adamantine.SOAP(params, lr=0.1, precondition_frequency=2), params, 4)
            found.append(params)
    finally:
        torch.set_num_threads(before)
    # The decompositions are LAPACK's, which promises nothing.
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["auto", "lists", "reference"])
def test_step_options(backend: Any) -> None:
    start = parameters((6, 6), (7, 7), 5)
    ours, twins = clones(start), clones(start)
    settings: dict[str, Any] = {"lr": 0.02, "precondition_frequency": 2, "backend": backend}
    optimizer = adamantine.SOAP(
        ours, **settings, max_grad_norm=0.5, skip_nonfinite=True, zero_grad="zeros",
        collect_stats=True,
    )  # fmt: skip
    other = adamantine.SOAP(twins, **settings)
    for step in range(6):
        for index, (p, q) in enumerate(zip(ours, twins, strict=True)):
            generator = torch.Generator().manual_seed(10 * step + index)
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        optimizer.step()
        assert not any(p.grad.any() for p in ours if p.grad is not None)
        norm = nn.utils.clip_grad_norm_(twins, 0.5)
        other.step()
        total = math.sqrt(sum(s.grad_norm**2 for s in optimizer.stats()))
        assert total == pytest.approx(float(norm), rel=1e-3)
    torch.testing.assert_close(ours, twins, rtol=1e-2, atol=1e-3)
    kept = [p.detach().clone() for p in ours]
    bases = optimizer.state[ours[0]]["Q_L"].clone()
    for p in ours:
        p.grad = torch.full_like(p, math.nan)
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert all(map(torch.equal, kept, ours))
    assert torch.equal(bases, optimizer.state[ours[0]]["Q_L"])


def test_a_gradient_that_is_no_number_is_seen() -> None:
    (param,) = parameters((4, 4))
    optimizer = adamantine.SOAP([param])
    for _ in range(2):
        param.grad = torch.full((4, 4), math.nan)
        optimizer.step()
    assert param.isnan().all()


def test_layouts_make_no_difference() -> None:
    (start,) = parameters((6, 6))
    plain = nn.Parameter(start.detach().clone())
    turned = nn.Parameter(start.detach().t().contiguous().t())
    for param in (plain, turned):
        train(adamantine.SOAP([param], lr=0.01, precondition_frequency=2), [param], 6)
    torch.testing.assert_close(plain, turned, rtol=1e-3, atol=1e-4)


def test_what_is_refused() -> None:
    (matrix,) = parameters((3, 3))
    for bad, words in (
        ({"lr": -1.0}, "Invalid learning rate: -1"),
        ({"betas": (1.0, 0.9)}, "beta parameter at index 0: 1"),
        ({"shampoo_beta": 1.0}, "Invalid shampoo_beta value: 1"),
        ({"precondition_frequency": 0}, "Invalid precondition_frequency value: 0"),
        ({"max_precond_dim": -1}, "Invalid max_precond_dim value: -1"),
    ):
        with pytest.raises(HyperparameterError, match=words):
            adamantine.SOAP([matrix], **bad)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not take offload=True"):
        adamantine.SOAP([matrix], offload=True)
    with pytest.raises(UsageError, match=r"does not step in backward\(\)"):
        adamantine.SOAP([matrix]).step_in_backward(nn.Linear(1, 1))
    matrix.grad = torch.ones(3, 3)
    with pytest.raises(UsageError, match="must not be rounded"):
        adamantine.SOAP([matrix], state_dtype="int8").step()
    matrix.grad = torch.ones(3, 3).to_sparse()
    with pytest.raises(BackendError, match="SOAP does not support sparse gradients"):
        adamantine.SOAP([matrix]).step()
    pair = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    pair.grad = torch.ones_like(pair)
    with pytest.raises(BackendError, match="SOAP does not support complex parameters"):
        adamantine.SOAP([pair]).step()


def test_a_step_that_somebody_counts_elsewhere_is_known() -> None:
    """Another process may have done steps of shared states; parameters are as these left them."""
    start = parameters((6, 6), 5)
    ours, twins = clones(start), clones(start)
    optimizer, other = adamantine.SOAP(ours, lr=0.1), adamantine.SOAP(twins, lr=0.1)
    train(optimizer, ours, 3)
    train(other, twins, 3)
    for params, stepping in ((ours, optimizer), (twins, other)):
        for param in params:
            stepping.state[param]["step"] += 4
    other._plan = None
    train(optimizer, ours, 3, seed=2)
    train(other, twins, 3, seed=2)
    assert all(map(torch.equal, ours, twins))
