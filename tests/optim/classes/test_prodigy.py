"""Prodigy beside its authors' package, and what an estimate for all parameters asks for."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import BackendError, StateError, UsageError
from adamantine.optim.by_name import OPTIMIZERS
from adamantine.study.settings.contestants import parse_contestant
from adamantine.study.settings.space import Range, own_space
from contract import clones, parameters

prodigyopt = pytest.importorskip("prodigyopt")

SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1, "betas": (0.8, 0.99)},
    {"weight_decay": 0.1, "decouple": False, "use_bias_correction": True},
    {"safeguard_warmup": True, "growth_rate": 1.3, "d0": 1e-3},
    {"d_coef": 2.0, "beta3": 0.9, "eps": 1e-4},
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)
BACKENDS = pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])


def theirs_of(params: Any, **settings: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it says which kind of decay it does
        return prodigyopt.Prodigy(params, **settings)


def descend(optimizer: Any, params: list[nn.Parameter], steps: int) -> None:
    """Along slopes that differ from element to element, towards 1."""
    for _ in range(steps):
        for param in params:
            slopes = torch.linspace(0.5, 2, param.numel(), dtype=param.dtype).view(param.shape)
            param.grad = slopes * (param.detach() - 1)
        optimizer.step()


def assert_same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def estimate(optimizer: Any) -> list[Any]:
    return [
        {name: group[name] for name in ("d", "d_max", "d_numerator", "k")}
        for group in optimizer.param_groups
    ]


@every_setting
@BACKENDS
def test_as_the_authors_package(settings: dict[str, Any], backend: str) -> None:
    """With a learning rate that changes, one that is zero, and a group that stands still."""
    start = parameters(7, (3, 4), 5, dtype=torch.float64)
    ours, theirs = clones(start), clones(start)
    sides = (
        (adamantine.Prodigy(ours[:2], backend=backend, **settings), ours),
        (theirs_of(theirs[:2], **settings), theirs),
    )
    for optimizer, params in sides:
        # Theirs decays a group that stands still.
        optimizer.add_param_group({"params": params[2:], "lr": 0.0, "weight_decay": 0.0})
    for lr in (0.0, 1.0, 0.5, 1.0):
        for optimizer, params in sides:
            optimizer.param_groups[0]["lr"] = lr
            descend(optimizer, params, 8)
        assert_same(ours, theirs)
        (mine, other), groups = map(estimate, (sides[0][0], sides[1][0])), 2
        assert mine[0] == pytest.approx(other[0], rel=1e-8)
        assert mine == [mine[0]] * groups
    assert mine[0]["d"] > 2e-6
    assert torch.equal(ours[2], start[2])


@every_setting
@pytest.mark.parametrize("direction", ["to theirs", "from theirs"])
def test_checkpoints_interchange(settings: dict[str, Any], direction: str) -> None:
    start = parameters(7, (3, 4), (), dtype=torch.float64)
    start[1].data.zero_()  # of which theirs keeps one number
    params, others = clones(start), clones(start)
    classes = adamantine.Prodigy, theirs_of
    first, second = classes if direction == "to theirs" else classes[::-1]
    one, other = first(params, **settings), second(others)
    descend(one, params, 20)
    stream = io.BytesIO()
    torch.save(one.state_dict(), stream)
    stream.seek(0)
    other.load_state_dict(torch.load(stream, weights_only=True))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.detach())
    assert estimate(other) == estimate(one)
    descend(one, params, 20)
    descend(other, others, 20)
    assert_same(params, others)


def test_there_and_back() -> None:
    """Through theirs, whose groups note more."""
    params = parameters(6, dtype=torch.float64)
    others = clones(params)
    ours, theirs = adamantine.Prodigy(params), theirs_of(others)
    descend(ours, params, 5)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    others[0].data.copy_(params[0].detach())
    descend(theirs, others, 5)
    again = clones(others)
    back = adamantine.Prodigy(again)
    back.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert {"d_hat", "d_denom", "slice_p"} < theirs.param_groups[0].keys()
    assert {"d_hat", "d_denom", "slice_p"}.isdisjoint(back.param_groups[0])
    assert float(back.state[again[0]]["step"]) == 10
    descend(back, again, 5)
    descend(ours, params, 10)
    assert_same(again, params)


def test_an_estimate_in_tensors_becomes_numbers() -> None:
    """As the package saves it of sharded parameters, which needs a GPU."""
    params = parameters(6)
    optimizer = adamantine.Prodigy(params)
    descend(optimizer, params, 5)
    expected = estimate(optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    for name in ("d", "d_max", "d_numerator"):
        state["param_groups"][0][name] = torch.tensor(expected[0][name], dtype=torch.float64)
    optimizer.load_state_dict(state)
    assert estimate(optimizer) == expected
    assert not any(isinstance(value, torch.Tensor) for value in estimate(optimizer)[0].values())


def test_without_momentum_theirs_has_one_average_less() -> None:
    params = parameters(6, dtype=torch.float64)
    theirs = theirs_of(params, betas=(0.0, 0.99))
    descend(theirs, params, 3)
    assert "exp_avg" not in theirs.state[params[0]]
    copies = clones(params)
    ours = adamantine.Prodigy(copies)
    ours.load_state_dict(theirs.state_dict())
    descend(ours, copies, 1)
    assert ours.param_groups[0]["betas"] == (0.0, 0.99)
    assert not torch.equal(copies[0], params[0])


def test_a_part_of_the_parameters_is_no_state_of_ours() -> None:
    params = parameters(22)
    theirs = theirs_of(params, slice_p=11)
    descend(theirs, params, 2)
    with pytest.raises(StateError, match="saved with slice_p=11"):
        adamantine.Prodigy(clones(params)).load_state_dict(theirs.state_dict())


@BACKENDS
def test_steps_are_fibonacci_numbers(backend: str) -> None:
    """By hand: with nothing averaged, d is the way so far, and a step as long as d was before."""
    param = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    d0 = 2.0**-20
    optimizer = adamantine.Prodigy([param], betas=(0.0, 0.0), d0=d0, eps=1e-30, backend=backend)
    places = []
    for _ in range(8):
        param.grad = torch.full((1,), -3.0, dtype=torch.float64)
        optimizer.step()
        places.append(float(param.detach()) / d0)
    assert places == pytest.approx([1, 2, 3, 5, 8, 13, 21, 34], rel=1e-12)
    assert optimizer.param_groups[0]["d"] / d0 == pytest.approx(21)


def test_the_estimate_has_the_same_bits_for_any_number_of_threads() -> None:
    """Of tensors in several tables."""
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            dtypes = torch.float32, torch.float64, torch.float32, torch.complex64
            params = [
                parameter
                for size, dtype in zip((70_000, (40, 30), 1_100_000, 9), dtypes, strict=True)
                for parameter in parameters(size, dtype=dtype)
            ]
            optimizer = adamantine.Prodigy(params, d0=1e-4)
            descend(optimizer, params, 4)
            assert optimizer._plan is not None
            assert len(optimizer._plan._tables) > 1
            found.append((estimate(optimizer), params))
    finally:
        torch.set_num_threads(before)
    for other, params in found[1:]:
        assert other == found[0][0]
        assert all(map(torch.equal, params, found[0][1]))


def test_one_estimate_for_kernels_lists_and_the_reference() -> None:
    """A gap for lists, codes for a table of their own: beside the float64 of all by the reference.

    The rounding of the codes is in all of them.
    """
    results = []
    for backend in ("auto", "reference"):
        torch.manual_seed(0)
        tensors = [torch.randn(300), torch.randn(12, 12)[::2, :3], torch.randn(520)]
        params = [nn.Parameter(t) for t in tensors]
        groups = [{"params": params[:2]}, {"params": params[2:], "state_dtype": {"s": "int8"}}]
        optimizer = adamantine.Prodigy(groups, backend=backend, d0=1e-3)
        descend(optimizer, params, 10)
        if backend == "auto":
            assert optimizer._plan is not None
            assert len(optimizer._plan._tables) == 2
            assert len(optimizer._plan._others) == 1
        assert estimate(optimizer)[0] == estimate(optimizer)[1]
        results.append((params, estimate(optimizer)[0]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-3)
    assert results[0][1]["d"] > 2e-3


def test_a_later_group_has_the_estimate_of_all() -> None:
    params = parameters(7, 5)
    optimizer = adamantine.Prodigy(params[:1])
    descend(optimizer, params, 20)
    optimizer.add_param_group({"params": params[1:], "weight_decay": 0.1})
    assert estimate(optimizer)[1] == estimate(optimizer)[0]
    assert optimizer.param_groups[1]["d"] > 1e-6


def test_the_estimate_goes_along_into_other_groups() -> None:
    """It is no setting, of which a regrouped state has the new optimizer's."""
    params = parameters(7, (3, 4), dtype=torch.float64)
    names = ["a", "b"]
    optimizer = adamantine.Prodigy(zip(names, params, strict=True))
    descend(optimizer, params, 20)
    copies = clones(params)
    split = adamantine.Prodigy([{"params": [pair]} for pair in zip(names, copies, strict=True)])
    split.load_state_dict(adamantine.regroup(copy.deepcopy(optimizer.state_dict()), split))
    assert estimate(split) == estimate(optimizer) * 2
    descend(optimizer, params, 20)
    descend(split, copies, 20)
    assert_same(copies, params)
    assert optimizer.param_groups[0]["d"] > 1e-3


def test_a_new_group_beside_a_loaded_one_has_its_estimate() -> None:
    """As one that is added later has."""
    old, new = parameters(7, 5, dtype=torch.float64)
    params, copies = clones([new, old]), clones([new, old])
    before = adamantine.Prodigy([("old", params[1])])
    descend(before, params[1:], 20)
    copies[1].data.copy_(params[1].detach())
    named = zip(("new", "old"), copies, strict=True)
    after = adamantine.Prodigy([{"params": [pair]} for pair in named])
    after.load_state_dict(copy.deepcopy(before.state_dict()), strict=False)
    before.add_param_group({"params": [("new", params[0])]})
    assert estimate(after) == estimate(before)
    descend(before, params, 20)
    descend(after, copies, 20)
    assert_same(copies, params)


def test_groups_with_other_learning_rates_are_refused_before_anything_changes() -> None:
    params = parameters(7, 5)
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.5}]
    optimizer = adamantine.Prodigy(groups)
    before, known = clones(params), estimate(optimizer)
    with pytest.raises(UsageError, match=r"learning rates of 0\.5, 1\.0, and its estimate needs"):
        descend(optimizer, params, 1)
    assert all(map(torch.equal, params, before))
    assert estimate(optimizer) == known
    assert not any(float(state["step"]) for state in optimizer.state.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_parameters_of_16_bits_need_digits_for_its_first_steps(dtype: torch.dtype) -> None:
    """In either dtype half of an element's gradients are zero, and in float16 so would v be."""
    estimates = []
    for options in ({}, {"param_rounding": "kahan"}, {"master": "float32"}, {"d0": 1e-3}):
        (param,) = parameters(64, dtype=dtype)
        optimizer = adamantine.Prodigy([param], **options)
        for step in range(60):
            param.grad = param.detach() - 1
            param.grad[step % 2 :: 2] = 0
            optimizer.step()
        estimates.append(optimizer.param_groups[0]["d"])
        assert float((param.detach() - 1).abs().max()) < 5
        kept = {name: optimizer.state[param][name].dtype for name in ("exp_avg_sq", "p0")}
        if "master" not in options:
            wide = torch.float32 if dtype == torch.float16 else dtype
            assert kept == {"exp_avg_sq": wide, "p0": dtype}
    assert estimates[0] == 1e-6
    assert min(estimates[1:]) > 0.1


def test_a_start_is_not_rounded() -> None:
    params = parameters(7)
    optimizer = adamantine.Prodigy(params, state_dtype="bfloat16")
    with pytest.raises(UsageError, match="the state 'p0' must not be rounded"):
        descend(optimizer, params, 1)


def test_who_updates_one_after_the_other_is_refused() -> None:
    net = nn.Linear(3, 2)
    with pytest.raises(UsageError, match="offload=True does not go with Prodigy"):
        adamantine.Prodigy(net.parameters(), offload=True)
    optimizer = adamantine.Prodigy(net.parameters())
    with pytest.raises(UsageError, match="Prodigy does not go with step_in_backward"):
        optimizer.step_in_backward(net)
    with pytest.raises(UsageError, match=r"share_memory\(\) does not go with Prodigy"):
        optimizer.share_memory()


@pytest.mark.parametrize("switch", ["differentiable", "capturable"])
def test_switches_that_cannot_be_are_refused_in_groups(switch: str) -> None:
    params = parameters(3)
    optimizer = adamantine.Prodigy([{"params": params, switch: True}])
    with pytest.raises(BackendError, match=f"{switch}=True does not go with Prodigy"):
        descend(optimizer, params, 1)


def test_sparse_gradients_are_refused() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = adamantine.Prodigy(table.parameters())
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BackendError, match="Prodigy does not support sparse gradients"):
        optimizer.step()


def test_it_is_a_contestant_that_is_searched_around_a_rate_of_one() -> None:
    assert OPTIMIZERS["prodigy"] is adamantine.Prodigy
    space = own_space(parse_contestant("prodigy"))
    assert space["lr"] == Range(0.1, 10.0, log=True)
    assert {"d0", "eps", "growth_rate"}.isdisjoint(space)
