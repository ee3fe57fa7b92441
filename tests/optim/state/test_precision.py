"""Options of precision: what they mean for groups and states, and what they refuse."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.backends import codes
from adamantine.errors import BackendError, HyperparameterError, StateError, UsageError
from contract import clones, parameters, train


def second_moments(optimizer: adamantine.Adam, params: list[nn.Parameter]) -> list[torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return [state[index]["exp_avg_sq"].double() for index in range(len(params))]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_average_tells_the_truth_when_gradients_become_quiet(dtype: str) -> None:
    """Rounded to nearest it would stand still: a block's largest element keeps its scale."""
    n, generator = 256 * 64, torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.zeros(n))]
    optimizer = adamantine.Adam(params, lr=1e-9, state_dtype=dtype)
    exact = torch.zeros(n, dtype=torch.float64)
    quiet = torch.full((n,), 1 / 30).view(-1, 256)
    quiet[:, 7] = 1.0
    loud = torch.ones(n)
    for step in range(3000):
        grad = torch.randn(n, generator=generator) * (loud if step < 2000 else quiet.view(-1))
        exact.mul_(0.999).add_(0.001 * grad.double() ** 2)
        params[0].grad = grad
        optimizer.step()
        if step == 1999:
            (found,) = second_moments(optimizer, params)
            assert abs(float(found.mean() / exact.mean()) - 1) < 0.03
    (found,) = second_moments(optimizer, params)
    small = torch.ones(64, 256, dtype=torch.bool)
    small[:, 7] = False
    small = small.view(-1)
    assert abs(float(found[small].mean() / exact[small].mean()) - 1) < 0.03
    assert abs(float(found[~small].mean() / exact[~small].mean()) - 1) < 0.1  # 64 elements
    assert float(found.min()) > 0


def test_the_second_moment_never_vanishes_before_the_first() -> None:
    """An element that falls silent in a loud block keeps something to be divided by."""
    params = [nn.Parameter(torch.zeros(256))]
    optimizer = adamantine.Adam(params, lr=1e-3, eps=1e-30, state_dtype="int8")
    for step in range(400):
        params[0].grad = torch.ones(256)
        params[0].grad[1:] *= 1e-3 if step < 5 else 0.0
        before = params[0].detach().clone()
        optimizer.step()
        assert float((params[0].detach() - before).abs().max()) < 0.05
    assert bool(params[0].isfinite().all())


def test_groups_and_states_have_their_own() -> None:
    params = parameters(300, 300, 300, 300)
    groups: list[dict[str, Any]] = [
        {"params": [params[0]], "state_dtype": "int8"},
        {"params": [params[1]], "state_dtype": {"exp_avg": "bfloat16"}},
        {"params": [params[2]]},
        {"params": [params[3]], "state_dtype": None},
    ]
    optimizer = adamantine.Adam(groups, state_dtype="bfloat16")
    train(optimizer, params, 2)
    kept = [
        (optimizer.state[p]["exp_avg"].dtype, optimizer.state[p]["exp_avg_sq"].dtype)
        for p in params
    ]
    assert kept == [
        (torch.uint8, torch.uint8),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float32),
    ]


def test_groups_without_options_are_torchs() -> None:
    theirs = torch.optim.Adam(parameters(3)).param_groups[0].keys()
    assert adamantine.Adam(parameters(3)).param_groups[0].keys() == theirs


def test_a_group_may_change_its_mind() -> None:
    params = parameters(1000)
    optimizer = adamantine.Adam(params)
    train(optimizer, params, 5)
    before = optimizer.state[params[0]]["exp_avg_sq"].clone()
    for dtype, tolerance in (("int8", 0.07), ("bfloat16", 0.01), ("float32", 0.01)):
        optimizer.param_groups[0]["state_dtype"] = dtype
        optimizer.param_groups[0]["lr"] = 0.0
        params[0].grad = torch.zeros(1000)
        optimizer.step()
        (now,) = optimizer.state_dict()["state"].values()
        ratio = now["exp_avg_sq"].float() / before
        before = now["exp_avg_sq"].float().clone()
        assert abs(float(ratio.mean()) - 0.999) < tolerance


def test_seeds_and_parameters_have_their_own_random_numbers() -> None:
    def states(seed: int) -> list[torch.Tensor]:
        params = [nn.Parameter(torch.zeros(5000)) for _ in range(2)]
        optimizer = adamantine.Adam(params, state_dtype="int8", rounding_seed=seed)
        for param in params:
            param.grad = torch.linspace(0.1, 1, 5000)
        optimizer.step()
        return [optimizer.state[p]["exp_avg"].clone() for p in params]

    first, again, other = states(0), states(0), states(1)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_copies_go_on_with_the_same_bits() -> None:
    params = parameters(777)
    optimizer = adamantine.Adam(params, state_dtype="int8", rounding_seed=3)
    train(optimizer, params, 3)
    copied_params, copied = copy.deepcopy((params, optimizer))
    pickled_params, pickled = pickle.loads(pickle.dumps((params, optimizer)))
    for p, o in ((params, optimizer), (copied_params, copied), (pickled_params, pickled)):
        train(o, p, 3, seed=8)
    assert torch.equal(params[0], copied_params[0])
    assert torch.equal(params[0], pickled_params[0])


def test_a_checkpoint_of_torch_is_loaded_into_codes() -> None:
    params = parameters(1000)
    theirs = torch.optim.Adam(params)
    train(theirs, params, 10)
    ours = adamantine.Adam(clones(params), state_dtype="int8")
    ours.load_state_dict(theirs.state_dict())
    (loaded,) = ours.state_dict()["state"].values()
    for name in ("exp_avg", "exp_avg_sq"):
        expected = theirs.state[params[0]][name]
        error = (loaded[name] - expected).abs()
        assert float((error / (expected.abs() + expected.abs().max() * 2.0**-15)).max()) < 2.0**-4


def test_channels_last_and_other_strides() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(torch.randn(8, 3, 5, 5).to(memory_format=layout))
        other = nn.Parameter(weight.detach().clone().contiguous())
        results = []
        for param in (weight, other):
            optimizer = adamantine.Adam([param], state_dtype="int8")
            generator = torch.Generator().manual_seed(0)
            for _ in range(3):
                param.grad = torch.randn(8, 3, 5, 5, generator=generator)
                optimizer.step()
            results.append(optimizer)
        # Blocks are in the order of memory: saved in one layout, loaded into the other.
        moved = adamantine.Adam([nn.Parameter(other.detach().clone())], state_dtype="int8")
        moved.load_state_dict(results[0].state_dict(compact=True))
        (before,), (after,) = (o.state_dict()["state"].values() for o in (results[0], moved))
        largest = float(before["exp_avg"].abs().max())
        torch.testing.assert_close(
            before["exp_avg"], after["exp_avg"], rtol=0.07, atol=largest / 2**13
        )


REFUSED: list[tuple[type[Exception], str, dict[str, Any], dict[str, Any]]] = [
    (HyperparameterError, "Invalid state_dtype: 'int4'", {"state_dtype": "int4"}, {}),
    (HyperparameterError, "Invalid state_dtype: 8", {"state_dtype": {"exp_avg": 8}}, {}),
    (HyperparameterError, "Invalid param_rounding: 'up'", {"param_rounding": "up"}, {}),
    (HyperparameterError, "Invalid rounding_seed: -1", {"rounding_seed": -1}, {}),
    (UsageError, "state_dtype names 'exp_average', and the states are 'exp_avg', 'exp_avg_sq'",
     {"state_dtype": {"exp_average": "int8"}}, {}),
    (UsageError, "parameter 0 of group 0 is torch.float64",
     {"state_dtype": "int8"}, {"dtype": torch.float64}),
    (UsageError, "is float16; use param_rounding='kahan'",
     {"param_rounding": "stochastic"}, {"dtype": torch.float16}),
    (UsageError, "differentiable=True does not go with",
     {"state_dtype": "int8", "differentiable": True}, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "message", "options", "kind"), REFUSED, ids=lambda x: str(x)[:40]
)
def test_what_is_refused(
    error: type[Exception], message: str, options: dict[str, Any], kind: dict[str, Any]
) -> None:
    params = parameters(5, **kind)
    before = clones(params)
    with pytest.raises(error, match=message):
        train(adamantine.Adam(params, **options), params, 1)
    assert torch.equal(params[0], before[0])


def test_a_state_may_be_named_that_only_other_parameters_have() -> None:
    """As in groups of which each names its own."""
    asked = {"momentum_buffer": "int8", "exp_avg_sq": "bfloat16"}
    (matrix, vector), copies = (parameters((12, 30), 300) for _ in range(2))
    named = [("matrix", matrix), ("vector", vector)]
    named.append(("head.weight", *parameters((3, 3))))
    optimizer = adamantine.Muon(named, state_dtype=asked)
    other = adamantine.Muon(
        [
            {"params": copies[:1], "state_dtype": {"momentum_buffer": "int8"}},
            {
                "params": copies[1:],
                "algorithm": "adamw",
                "state_dtype": {"exp_avg_sq": "bfloat16"},
            },
        ]
    )
    later = copy.deepcopy(optimizer)
    for _ in range(2):
        train(optimizer, [matrix, vector], 3)
        train(other, copies, 3)
        assert torch.equal(matrix, copies[0])
        assert torch.equal(vector, copies[1])
        later.load_state_dict(copy.deepcopy(optimizer.state_dict(compact=True)))
    assert optimizer.state[matrix]["momentum_buffer"].dtype == torch.uint8
    assert optimizer.state[vector]["exp_avg_sq"].dtype == torch.bfloat16
    (_, moved), *_ = later.state.items()
    assert torch.equal(moved["momentum_buffer"], optimizer.state[matrix]["momentum_buffer"])
    bad = adamantine.Muon(named, state_dtype={"momentum": "int8"})
    with pytest.raises(UsageError, match="'momentum', and the states are 'momentum_buffer', 'exp"):
        train(bad, [matrix, vector], 1)


def test_a_difference_of_states_is_not_rounded() -> None:
    params = parameters(5)
    message = "the state 'square_avg' must not be rounded"
    with pytest.raises(UsageError, match=message):
        train(adamantine.RMSprop(params, centered=True, state_dtype="int8"), params, 1)
    optimizer = adamantine.RMSprop(
        params, centered=True, momentum=0.9, state_dtype={"momentum_buffer": "int8"}
    )
    train(optimizer, params, 1)


def test_sparse_gradients_are_refused() -> None:
    table = nn.Embedding(10, 4, sparse=True)
    optimizer = adamantine.Adam(table.parameters(), sparse="lazy", state_dtype="int8")
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BackendError, match="do not go with sparse gradients"):
        optimizer.step()


def test_sparse_gradients_are_refused_after_dense_ones() -> None:
    """Codes would be taken for numbers."""
    table = nn.Embedding(10, 4, sparse=True)
    optimizer = adamantine.Adam(table.parameters(), sparse="lazy", state_dtype="int8")
    table.weight.grad = torch.ones(10, 4)
    optimizer.step()
    before = table.weight.detach().clone()
    optimizer.zero_grad()
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BackendError, match="do not go with sparse gradients"):
        optimizer.step()
    assert torch.equal(table.weight, before)


def test_codes_that_do_not_fit_are_refused() -> None:
    params = parameters(600)
    optimizer = adamantine.Adam(params, state_dtype="int8")
    train(optimizer, params, 1)
    state = optimizer.state_dict(compact=True)
    broken = copy.deepcopy(state)
    broken["state"][0]["exp_avg_exponents"] = torch.zeros(2, dtype=torch.uint8)
    other = adamantine.Adam(parameters(600), state_dtype="int8")
    with pytest.raises(StateError, match=r"have \(2,\) exponents, expected 3"):
        other.load_state_dict(broken)
    del broken["state"][0]["exp_avg_exponents"]
    with pytest.raises(StateError, match="expected numbers as precise as float16"):
        other.load_state_dict(broken)
    assert not other.state
    optimizer.state[params[0]]["exp_avg_exponents"] = torch.zeros(9, dtype=torch.uint8)
    with pytest.raises(StateError, match="its parameter is"):
        train(optimizer, params, 1)


def test_a_replaced_state_is_noticed() -> None:
    params = parameters(600)
    optimizer = adamantine.Adam(params, state_dtype="int8")
    train(optimizer, params, 3)
    zeros, exponents = codes.empty_codes(params[0])
    optimizer.state[params[0]].update(exp_avg=zeros, exp_avg_exponents=exponents)
    train(optimizer, params, 1)
    assert bool(zeros.any())


def test_shared_memory_holds_codes_too() -> None:
    params = parameters(300)
    optimizer = adamantine.Adam(params, state_dtype="int8")
    optimizer.share_memory()
    assert optimizer.state[params[0]]["exp_avg"].is_shared()
    train(optimizer, params, 1)


@pytest.mark.parametrize("rounding", ["kahan", "stochastic"])
def test_an_option_that_comes_later_repeats_no_first_step(rounding: str) -> None:
    """SGD's first gradient is not dampened; all others are, whatever the state begins anew."""
    params = [nn.Parameter(torch.ones(4, dtype=torch.bfloat16))]
    optimizer = adamantine.SGD(params, lr=0.0, momentum=0.5, dampening=0.5)
    for step in range(3):
        params[0].grad = torch.ones_like(params[0])
        optimizer.step()
        if step == 0:
            optimizer.param_groups[0]["param_rounding"] = rounding
        assert bool((optimizer.state[params[0]]["momentum_buffer"] == 1).all())


def test_steps_without_momentum_are_not_the_first_with_it() -> None:
    params = [nn.Parameter(torch.ones(4, dtype=torch.bfloat16))]
    optimizer = adamantine.SGD(params, lr=0.0, dampening=0.5, param_rounding="stochastic")
    train(optimizer, params, 2)
    optimizer.param_groups[0]["momentum"] = 0.5
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert bool((optimizer.state[params[0]]["momentum_buffer"] == 1).all())


def test_a_compensation_ends_with_its_option() -> None:
    """Kept, it would be added to a parameter that has gone elsewhere in the meantime."""
    params = parameters(300, dtype=torch.bfloat16)
    optimizer = adamantine.Adam(params, lr=1e-4, param_rounding="kahan")
    train(optimizer, params, 3)
    assert bool(optimizer.state[params[0]]["compensation"].any())
    optimizer.param_groups[0]["param_rounding"] = "nearest"
    train(optimizer, params, 1)
    assert "compensation" not in optimizer.state[params[0]]


def test_a_compensation_that_does_not_fit_is_refused() -> None:
    params = parameters(300, dtype=torch.bfloat16)
    optimizer = adamantine.Adam(params, param_rounding="kahan")
    train(optimizer, params, 1)
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][0]["compensation"] = torch.zeros(7, dtype=torch.bfloat16)
    with pytest.raises(StateError, match=r"'compensation' of parameter 0 of group 0 is of shape"):
        optimizer.load_state_dict(state)


def test_options_that_are_changed_are_checked_and_noticed() -> None:
    params = parameters(300)
    optimizer = adamantine.Adam(params, state_dtype={"exp_avg": "bfloat16"})
    train(optimizer, params, 1)
    group = optimizer.param_groups[0]
    group["state_dtype"]["exp_avg"] = "int8"  # in place
    train(optimizer, params, 1)
    assert optimizer.state[params[0]]["exp_avg"].dtype == torch.uint8
    for name, value in (("state_dtype", "float16"), ("param_rounding", "up")):
        before = group.get(name)
        group[name] = value
        with pytest.raises(HyperparameterError, match=f"Invalid {name}: '{value}'"):
            train(optimizer, params, 1)
        group[name] = before or "nearest"


def test_hooks_of_state_dicts_see_numbers() -> None:
    params = parameters(300)
    optimizer = adamantine.Adam(params, state_dtype="int8")
    train(optimizer, params, 1)

    def halved(_: Any, found: dict[str, Any]) -> dict[str, Any]:
        return {"exp_avg": found["state"][0]["exp_avg"] / 2}

    expected = optimizer.state_dict()["state"][0]["exp_avg"] / 2
    handle = optimizer.register_state_dict_post_hook(halved)
    assert torch.equal(optimizer.state_dict()["exp_avg"], expected)
    handle.remove()
    assert optimizer.state_dict(compact=True)["state"][0]["exp_avg"].dtype == torch.uint8
    assert not optimizer._optimizer_state_dict_post_hooks


def test_codes_of_zeros_take_no_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bytes an element for a moment would be the most that a run ever needs."""
    params = parameters(300)
    optimizer = adamantine.Adam(params, state_dtype="int8")
    monkeypatch.delattr(torch, "full_like")
    train(optimizer, params, 1)
