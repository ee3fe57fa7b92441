"""Masters of 16-bit parameters: who writes to what, what is kept, and what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.backends.codes import master_in
from adamantine.errors import BackendError, HyperparameterError, StateError, UsageError
from contract import clones, parameters, train

BF16 = torch.bfloat16
every_backend = pytest.mark.parametrize("backend", ["cpu", "lists", "reference"])
every_master = pytest.mark.parametrize("master", ["float32", "24bit"])


def number(optimizer: torch.optim.Optimizer, param: Tensor) -> Tensor:
    return master_in(torch.float32, optimizer.state[param]["master"], param)


def started(n: int = 1000, steps: int = 3, **options: Any) -> tuple[nn.Parameter, adamantine.Adam]:
    (param,) = parameters(n, dtype=BF16)
    optimizer = adamantine.Adam([param], lr=1e-3, **options)
    train(optimizer, [param], steps)
    return param, optimizer


def stand_still(optimizer: adamantine.Adam, param: nn.Parameter) -> None:
    """A step that moves nothing."""
    optimizer.param_groups[0]["lr"] = 0.0
    param.grad = torch.zeros_like(param)
    optimizer.step()


# What is kept


@pytest.mark.parametrize(
    ("master", "state_dtype", "size"),
    [("float32", None, 14), ("24bit", None, 11), ("24bit", "bfloat16", 7), ("24bit", "int8", 5)],
)
def test_bytes_of_parameter_and_states(master: str, state_dtype: Any, size: int) -> None:
    n = 256 * 40
    param, optimizer = started(n, 1, master=master, state_dtype=state_dtype, backend="reference")
    exponents = 2 * 40 if state_dtype == "int8" else 0
    held = param.nbytes + sum(v.nbytes for v in optimizer.state[param].values())
    assert held == size * n + exponents + 4  # the step


@every_master
def test_only_parameters_of_16_bits_have_one(master: str) -> None:
    params = [nn.Parameter(torch.ones(5, dtype=t)) for t in (torch.float32, torch.float64, BF16)]
    optimizer = adamantine.Adam(params, master=master, backend="reference")
    train(optimizer, params, 1)
    assert ["master" in optimizer.state[p] for p in params] == [False, False, True]
    assert optimizer.state[params[1]]["exp_avg"].dtype == torch.float64


def test_groups_have_their_own() -> None:
    params = parameters(5, 5, 5, dtype=BF16)
    groups = [{"params": params[:1], "master": "24bit"}, {"params": params[1:2], "master": None}]
    groups.append({"params": params[2:]})
    optimizer = adamantine.Adam(groups, master="float32", backend="reference")
    train(optimizer, params, 1)
    found = [optimizer.state[p].get("master") for p in params]
    assert [None if m is None else m.dtype for m in found] == [torch.int8, None, torch.float32]


def test_small_updates_add_up() -> None:
    """A hundredth of a bfloat16's last digit a step: without a master nothing would ever move."""
    ends = {}
    for master in (None, "24bit", "float32"):
        param = nn.Parameter(torch.ones(10, dtype=BF16))
        optimizer = adamantine.SGD([param], lr=2.0**-14, master=master, backend="reference")
        for _ in range(1000):
            param.grad = torch.ones_like(param)
            optimizer.step()
        ends[master] = float(param[0].detach())
    there = float(torch.tensor(1 - 1000 / 2**14).bfloat16())
    assert ends == {None: 1.0, "24bit": there, "float32": there}


def test_a_weight_that_float16_cannot_hold_comes_back() -> None:
    param = nn.Parameter(torch.full((3,), 60_000.0, dtype=torch.float16))
    optimizer = adamantine.SGD([param], lr=1.0, master="float32")
    for grad, expected in ((-8000.0, torch.inf), (10_000.0, 58_000.0)):
        param.grad = torch.full_like(param, grad)
        optimizer.step()
        torch.testing.assert_close(param.detach(), torch.full((3,), expected).half())


# Somebody else writes to the parameter


@every_backend
def test_a_master_begins_again_where_its_parameter_was_written_to(backend: str) -> None:
    param, optimizer = started(master="float32", backend=backend)
    before = number(optimizer, param).clone()
    with torch.no_grad():
        param[100:200] = 0.25
        param.clamp_(min=-0.5)
    written = param.detach().clone()
    touched = written != before.bfloat16()
    assert 0 < int(touched.sum()) < 900
    stand_still(optimizer, param)
    assert torch.equal(param, written)
    assert torch.equal(number(optimizer, param), torch.where(touched, written.float(), before))


@every_backend
def test_a_byte_does_no_harm_where_its_parameter_was_written_to(backend: str) -> None:
    param, optimizer = started(master="24bit", backend=backend)
    values = torch.tensor([0.0, -0.0, 1.0, 1.5, -3.0, torch.inf, -torch.inf, 3e38, 1e-40])
    with torch.no_grad():
        param.copy_(values.repeat(200)[: param.numel()])
    written = param.detach().clone()
    stand_still(optimizer, param)
    assert torch.equal(param, written)  # the nearest bfloat16 is what was written
    found = number(optimizer, param)
    usual = written.isfinite() & (written.abs() > 1e-30)
    torch.testing.assert_close(found[usual], written[usual].float(), rtol=2.0**-8, atol=0)
    assert float(found[written == 0].abs().max()) < 2.0**-133
    assert torch.equal(found[~written.isfinite()], written[~written.isfinite()].float())


@every_master
@every_backend
def test_a_model_that_is_loaded_is_not_overwritten(master: str, backend: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(20, 30, dtype=BF16)
    others = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    optimizer = adamantine.SGD(model.parameters(), lr=2.0**-10, master=master, backend=backend)
    for _ in range(2):
        model(torch.ones(4, 20, dtype=BF16)).sum().backward()
        optimizer.step()
    model.load_state_dict(others)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    for name, param in model.named_parameters():
        loaded = others[name].float()
        away = (number(optimizer, param) - (loaded - 2.0**-10)).abs()
        assert bool((away <= loaded.abs() * 2.0**-8 + 1e-6).all())


@every_backend
def test_a_nan_that_somebody_writes_is_seen(backend: str) -> None:
    for master in ("float32", "24bit"):
        param, optimizer = started(master=master, backend=backend)
        with torch.no_grad():
            param[7] = torch.nan
        train(optimizer, [param], 1)
        assert torch.equal(param.isnan().nonzero(), torch.tensor([[7]]))
        with torch.no_grad():
            param[7] = 0.5
        stand_still(optimizer, param)
        assert float(param[7].detach()) == 0.5


# Options that change, and checkpoints


@every_master
def test_a_master_may_come_later_and_go(master: str) -> None:
    param, optimizer = started()
    assert optimizer.state[param]["exp_avg"].dtype == BF16
    optimizer.param_groups[0]["master"] = master
    before = param.detach().clone()
    stand_still(optimizer, param)
    assert torch.equal(param, before)
    assert torch.equal(number(optimizer, param), before.float())
    assert optimizer.state[param]["exp_avg"].dtype == torch.float32
    optimizer.param_groups[0]["master"] = None
    stand_still(optimizer, param)
    assert "master" not in optimizer.state[param]
    assert torch.equal(param, before)


@pytest.mark.parametrize(("first", "second"), [("24bit", "float32"), ("float32", "24bit")])
@every_backend
def test_a_checkpoint_is_loaded_with_the_other_master(
    first: str, second: str, backend: str
) -> None:
    param, optimizer = started(master=first)
    before = number(optimizer, param)
    other = nn.Parameter(torch.zeros(1000, dtype=BF16))
    after = adamantine.Adam([other], lr=0.0, master=second, backend=backend)
    after.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.data.copy_(param)  # after the optimizer, which is as well
    after.param_groups[0]["lr"] = 0.0
    other.grad = torch.zeros_like(other)
    after.step()
    assert after.param_groups[0]["master"] == second
    assert torch.equal(other, param)
    found = number(after, other)
    # A tie between two bfloat16s loses a digit where torch had rounded it to even.
    torch.testing.assert_close(found, before, rtol=0 if first == "24bit" else 2.0**-15, atol=0)


def test_one_that_torch_has_rounded_begins_again() -> None:
    """Its optimizers load whatever they find in the dtype of the parameter."""
    for master in ("float32", "24bit"):
        param, optimizer = started(master=master)
        theirs = torch.optim.Adam([param])
        theirs.load_state_dict(optimizer.state_dict())
        back = adamantine.Adam([param], master=master)
        back.load_state_dict(copy.deepcopy(theirs.state_dict()))
        before = param.detach().clone()
        stand_still(back, param)
        assert torch.equal(param, before)
        torch.testing.assert_close(number(back, param), before.float(), rtol=2.0**-8, atol=0)


@every_master
def test_copies_and_shared_memory_hold_masters(master: str) -> None:
    param, optimizer = started(master=master)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        (theirs,) = twin.param_groups[0]["params"]
        assert torch.equal(number(twin, theirs), number(optimizer, param))
    optimizer.share_memory()
    assert optimizer.state[param]["master"].is_shared()
    train(optimizer, [param], 1)


@every_master
def test_one_that_does_not_fit_is_refused(master: str) -> None:
    param, optimizer = started(master=master)
    for bad in (torch.zeros(7), torch.zeros(1000, dtype=torch.int64), torch.zeros(1000).bool()):
        state = copy.deepcopy(optimizer.state_dict())
        state["state"][0]["master"] = bad
        with pytest.raises(StateError, match="'master' of parameter 0 of group 0 is"):
            optimizer.load_state_dict(state)
        kept = optimizer.state[param]["master"]
        optimizer.state[param]["master"] = bad
        with pytest.raises(StateError, match="'master' of parameter 0 of group 0 is"):
            train(optimizer, [param], 1)
        optimizer.state[param]["master"] = kept
    train(optimizer, [param], 1)


@every_master
def test_a_replaced_or_converted_master_is_taken(master: str) -> None:
    param, optimizer = started(master=master)
    value = optimizer.state[param]["master"]
    optimizer.state[param]["master"] = torch.zeros_like(value)
    stand_still(optimizer, param)
    assert torch.equal(number(optimizer, param), param.float())
    optimizer.state[param]["master"] = param.detach().float() * (1 + 2.0**-12)
    stand_still(optimizer, param)
    torch.testing.assert_close(
        number(optimizer, param), param.detach().float() * (1 + 2.0**-12), rtol=2.0**-15, atol=0
    )


# Refusals


REFUSED: list[tuple[type[Exception], str, dict[str, Any], torch.dtype]] = [
    (HyperparameterError, "Invalid master: 'bfloat16'", {"master": "bfloat16"}, BF16),
    (HyperparameterError, "param_rounding='kahan' does not go with master='24bit': a master keeps",
     {"master": "24bit", "param_rounding": "kahan"}, BF16),
    (HyperparameterError, "param_rounding='stochastic' does not go with master='float32'",
     {"master": "float32", "param_rounding": "stochastic"}, BF16),
    (UsageError, "is float16, which has too few exponents", {"master": "24bit"}, torch.float16),
    (UsageError, "a master is for real parameters", {"master": "float32"}, torch.complex64),
    (UsageError, "differentiable=True does not go with",
     {"master": "float32", "differentiable": True}, BF16),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "options", "dtype"), REFUSED, ids=str)
def test_what_is_refused(
    error: type[Exception], message: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    params = parameters(5, dtype=dtype)
    before = clones(params)
    with pytest.raises(error, match=message):
        train(adamantine.Adam(params, **options), params, 1)
    assert torch.equal(params[0], before[0])


def test_a_master_that_is_misspelt_later_is_refused() -> None:
    param, optimizer = started(master="24bit")
    optimizer.param_groups[0]["master"] = "float16"
    with pytest.raises(HyperparameterError, match="Invalid master: 'float16'"):
        train(optimizer, [param], 1)


@every_master
def test_sparse_gradients_are_refused(master: str) -> None:
    table = nn.Embedding(10, 4, sparse=True, dtype=BF16)
    optimizer = adamantine.Adam(table.parameters(), sparse="lazy", master=master)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(BackendError, match="master do not go with sparse gradients"):
        optimizer.step()
