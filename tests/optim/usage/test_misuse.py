"""Each misuse that ``docs/misuse.md`` lists is told, once, and right use is not."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import adamantine
from adamantine.errors import MisuseWarning, UsageError
from adamantine.optim import RuleOptimizer
from contract import parameters, train


@pytest.fixture
def told(recwarn: pytest.WarningsRecorder) -> Iterator[Callable[[], list[str]]]:
    """The texts of the warnings so far; every one is recorded, also repeated ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield lambda: [str(w.message) for w in recwarn if w.category is MisuseWarning]


def backward(model: nn.Module, inputs: int = 3) -> None:
    dtype = next(model.parameters()).dtype
    model(torch.ones(2, inputs, dtype=dtype)).sum().backward()


Told = Callable[[], list[str]]


# A step without gradients


@pytest.mark.parametrize("backend", ["auto", "lists", "reference"])
@pytest.mark.parametrize("started", [False, True])
def test_a_step_without_any_gradient_is_as_quiet_as_torchs(
    told: Told, backend: Any, started: bool
) -> None:
    """Loops that only drive a scheduler do it, under ``-W error`` too."""
    params = parameters(3, 4)
    optimizer = adamantine.SGD(params, momentum=0.9, backend=backend)
    if started:
        train(optimizer, params, 2)
        optimizer.zero_grad()
    before = [p.detach().clone() for p in params]
    for _ in range(3):
        optimizer.step()
    assert told() == []
    assert all(map(torch.equal, before, params))


# float16 without a scaler


def test_the_warning_points_at_the_callers_line() -> None:
    params = parameters(3, dtype=torch.float16)
    optimizer = adamantine.Adam(params)
    optimizer.register_step_post_hook(lambda *_: None)  # now torch's wrapper is in between
    params[0].grad = torch.zeros_like(params[0])
    with pytest.warns(MisuseWarning, match="without a GradScaler") as record:
        optimizer.step()
    assert record[0].filename == __file__


def test_float16_without_a_scaler_is_told_once(told: Told) -> None:
    params = parameters(3, 4, dtype=torch.float16)
    optimizer = adamantine.AdamW(params)
    train(optimizer, params[:1], 2)
    train(optimizer, params, 2)  # a new plan
    assert [text[:50] for text in told()] == [
        "AdamW updates float16 parameters without a GradScaler"[:50]
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_other_dtypes_need_no_scaler(told: Told, dtype: torch.dtype) -> None:
    params = parameters(3, dtype=dtype)
    train(adamantine.AdamW(params), params, 2)
    assert told() == []


class Float16Scaler(torch.amp.GradScaler):
    """Takes float16 gradients, as FSDP's ShardedGradScaler does; torch's own refuses them."""

    def _unscale_grads_(self, optimizer: Any, inv_scale: Any, found_inf: Any, _: bool) -> Any:
        return super()._unscale_grads_(optimizer, inv_scale, found_inf, True)


@pytest.mark.parametrize("hooked", [False, True])
def test_a_scaler_that_drives_the_step_is_seen(told: Told, hooked: bool) -> None:
    model = nn.Linear(3, 2).half()
    before = model.weight.detach().clone()
    optimizer = adamantine.SGD(model.parameters(), lr=0.1)
    if hooked:
        optimizer.register_step_pre_hook(lambda *_: None)
    scaler = Float16Scaler("cpu", init_scale=8.0)
    scaler.scale(model(torch.ones(2, 3, dtype=torch.float16)).sum()).backward()
    scaler.step(optimizer)
    assert told() == []
    torch.testing.assert_close(model.weight, before - 0.2, rtol=0, atol=1e-3)


# Parameters that optimizer and model do not share


def test_check_is_content_with_what_fits() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    adamantine.check(model, adamantine.Adam(model.parameters()))
    model[0].requires_grad_(False)
    adamantine.check(model, adamantine.Adam(model[1].parameters()))
    adamantine.check(model, torch.optim.Adam(model.parameters()))  # frozen ones may be there
    model[0].requires_grad_(True)
    adamantine.check(model, *(adamantine.SGD(layer.parameters()) for layer in model))


def test_check_names_parameters_that_no_optimizer_has() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = adamantine.Adam(model[1].parameters())
    with pytest.raises(UsageError, match=r"no optimizer has the model's '0.weight', '0.bias': "):
        adamantine.check(model, optimizer)
    backward(model)
    model[0].requires_grad_(False)  # but it has gradients
    with pytest.raises(UsageError, match=r"no optimizer has the model's '0.weight', '0.bias': "):
        adamantine.check(model, optimizer)


def test_check_names_parameters_that_were_replaced() -> None:
    model = nn.Linear(3, 2)
    for params, name in ((model.parameters(), "parameter 0 of group 0"),
                         (model.named_parameters(), "parameter 'weight'")):  # fmt: skip
        optimizer = adamantine.Adam(params)
        model.weight = nn.Parameter(torch.ones(2, 3))
        message = f"no optimizer has the model's 'weight'.*; and an optimizer has {name}, and the"
        with pytest.raises(UsageError, match=message):
            adamantine.check(model, optimizer)


def test_check_needs_an_optimizer() -> None:
    with pytest.raises(UsageError, match="got no optimizer"):
        adamantine.check(nn.Linear(2, 2))


def test_a_state_on_another_dtype_or_device_names_its_parameter() -> None:
    model = nn.Linear(3, 2)
    optimizer = adamantine.Adam(model.named_parameters())
    backward(model)
    optimizer.step()
    model.double()
    backward(model)
    with pytest.raises(RuntimeError, match=r"'exp_avg' of parameter 'weight' is torch\.fl"):
        optimizer.step()


# Gradients that pile up


ZEROING = {
    "optimizer": lambda model, optimizer: optimizer.zero_grad(),
    "optimizer, to zeros": lambda model, optimizer: optimizer.zero_grad(set_to_none=False),
    "model": lambda model, optimizer: model.zero_grad(),
    "by hand": lambda model, optimizer: [p.grad.zero_() for p in model.parameters()],
}


@pytest.mark.parametrize("clear", ZEROING.values(), ids=ZEROING)
@pytest.mark.parametrize("module", [adamantine, torch.optim], ids=["ours", "torch"])
def test_cleared_gradients_are_not_told_of(told: Told, module: Any, clear: Any) -> None:
    model = nn.Linear(3, 2)
    optimizer = module.Adam(model.parameters())
    adamantine.check_zeroed(optimizer)
    for _ in range(3):
        backward(model)
        backward(model)  # accumulation between steps is meant
        optimizer.step()
        clear(model, optimizer)
    assert told() == []


@pytest.mark.parametrize("module", [adamantine, torch.optim], ids=["ours", "torch"])
def test_gradients_that_pile_up_are_told_once_and_the_hooks_go(told: Told, module: Any) -> None:
    model = nn.Linear(3, 2)
    optimizer = module.Adam(model.named_parameters())
    adamantine.check_zeroed(optimizer)
    for _ in range(4):
        backward(model)
        optimizer.step()
    (text,) = told()
    assert "step() has already used (parameter '" in text
    assert not optimizer._optimizer_step_post_hooks
    assert not any(p._backward_hooks for p in model.parameters())


def test_sparse_gradients_that_pile_up_are_told(told: Told) -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(table.parameters())
    adamantine.check_zeroed(optimizer)
    for clears in (True, False):
        table(torch.tensor([1, 1, 4])).sum().backward()
        assert told() == []
        optimizer.step()
        if clears:
            optimizer.zero_grad(set_to_none=False)
    table(torch.tensor([1])).sum().backward()
    assert len(told()) == 1


def test_a_watch_can_be_ended_and_keeps_nothing_alive(told: Told) -> None:
    model = nn.Linear(3, 2)
    optimizer = adamantine.Adam(model.parameters())
    watch = adamantine.check_zeroed(optimizer)
    backward(model)
    optimizer.step()
    pickle.dumps(model.weight)  # hooks that cannot be saved make torch warn
    watch.remove()
    backward(model)
    assert told() == []


# Words


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("Adam", "weight_deacy", "weight_decay"),
        ("Adam", "learning_rate", "lr"),
        ("Adam", "beta1", "betas"),
        ("AdamW", "LR", "lr"),
        ("SGD", "nestrov", "nesterov"),
        ("RMSprop", "centred", "centered"),
    ],
)
def test_a_misspelt_keyword_names_the_nearest(name: str, given: str, meant: str) -> None:
    message = (
        f"{name}.__init__.* got an unexpected keyword argument '{given}'. Did you mean '{meant}'"
    )
    with pytest.raises(TypeError, match=message):
        getattr(adamantine, name)(parameters(3), **{given: 0.1})


def test_a_keyword_like_no_other_lists_them_all() -> None:
    with pytest.raises(TypeError, match="'zzz'; it takes params, lr, alpha, eps, weight_decay, mo"):
        adamantine.RMSprop(parameters(3), zzz=1)


def test_a_subclass_with_keywords_of_its_own_is_left_alone() -> None:
    class Mine(adamantine.Adam):
        def __init__(self, params: Any, **anything: Any) -> None:
            super().__init__(params, lr=anything.pop("learning_rate"), **anything)

    assert Mine(parameters(3), learning_rate=0.5).param_groups[0]["lr"] == 0.5
    with pytest.raises(TypeError, match=r"Mine.__init__.* 'esp'\. Did you mean 'eps'"):
        Mine(parameters(3), learning_rate=0.5, esp=1)


@pytest.mark.parametrize("key", ["weight_deacy", "weightdecay", "WEIGHT_DECAY", "beta", "Lr"])
def test_a_misspelt_key_of_a_group_is_told(key: str) -> None:
    group = {"params": parameters(3), key: 0.1}
    with pytest.warns(
        MisuseWarning, match=f"the key '{key}', .* did you mean '(we|be|lr)"
    ) as record:
        adamantine.Adam([group])
    assert record[0].filename == __file__
    assert len(record) == 1


def test_other_keys_of_a_group_are_the_users_own() -> None:
    keys = (
        "initial_lr", "max_lr", "min_lr", "base_lr", "swa_lr", "lr_scale", "lr_mult", "layer_id",
        "max_momentum", "base_momentum", "max_weight_decay", "wd_mult", "name", "names", "step",
        "decay", "use_muon", "group_name", "initial_weight_decay", "scale", "lr0",
    )  # fmt: skip
    for name in ("Adam", "SGD", "RMSprop"):
        group = {"params": parameters(3), **dict.fromkeys(keys, 1.0)}
        optimizer = getattr(adamantine, name)([group])
        assert optimizer.param_groups[0]["lr_scale"] == 1.0


def test_every_setting_is_found_with_two_letters_swapped() -> None:
    (group,) = adamantine.Adam(parameters(3)).param_groups
    for name in sorted(group.keys() - {"params"}):
        swapped = name[:-2] + name[-1] + name[-2]
        with pytest.warns(MisuseWarning, match=f"'{swapped}', .*did you mean '{name}'"):
            adamantine.Adam([{"params": parameters(3), swapped: group[name]}])


# A parameter given twice


def test_a_parameter_in_two_groups_is_named() -> None:
    a, b = parameters(3, 4)
    for groups, who in (
        ([{"params": [a, b]}, {"params": [b]}], "parameter 1 of group 0"),
        ([{"params": [("a", a), ("b", b)]}, {"params": [("c", b)]}], "parameter 'b'"),
    ):
        message = f"some parameters appear in more than one parameter group: {who} is given again"
        with pytest.raises(ValueError, match=message):
            adamantine.Adam(groups)


def test_a_parameter_twice_in_one_group_warns_as_torch() -> None:
    (a,) = parameters(3)
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        adamantine.Adam([a, a])


def test_the_signature_is_not_hidden() -> None:
    for name in ("Adam", "SGD"):
        cls: type[RuleOptimizer] = getattr(adamantine, name)
        assert "params" in inspect.signature(cls).parameters
        assert inspect.unwrap(cls.__init__).__qualname__ == f"{name}.__init__"
