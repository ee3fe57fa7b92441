"""What every optimizer promises, run for each row of ``cases.py``."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from numba.core import event
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

import adamantine
from adamantine.optim import RuleOptimizer
from cases import BAD_SETTINGS, CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=str)

Optimizer = torch.optim.Optimizer
SIZES = (0, 1, 15, 16, 17, 65_535, 65_536, 65_537)


def parameters(
    *shapes: int | tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes
    ]


def train(
    optimizer: Optimizer, params: list[torch.nn.Parameter], steps: int, seed: int = 1
) -> None:
    """Feed `steps` random gradients, the same for all dtypes."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float32)
            param.grad = grad.to(param.dtype)
        optimizer.step()


def clones(params: list[torch.nn.Parameter], dtype: torch.dtype | None = None) -> list:
    return [torch.nn.Parameter(p.detach().clone().to(dtype or p.dtype)) for p in params]


def worst_error(params: list[torch.nn.Parameter], exact: list[torch.nn.Parameter]) -> float:
    pairs = zip(params, exact, strict=True)
    return max(float((p - e).detach().abs().max()) for p, e in pairs if p.numel())


def assert_same_state(ours: Optimizer, theirs: Optimizer, rtol: float = 1e-4) -> None:
    a, b = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert a.keys() == b.keys()
    for index in a:
        assert a[index].keys() == b[index].keys()
        for name in a[index]:
            torch.testing.assert_close(a[index][name], b[index][name], rtol=rtol, atol=1e-6)


@every_case
def test_as_close_to_float64_as_torch(case: Case) -> None:
    noise = torch.randn(500_000, generator=torch.Generator().manual_seed(1))
    # Small sizes come in numbers, so that the largest error is one of many, not of one.
    sizes = [size for size in SIZES for _ in range(max(1, 48 // max(1, size)))]
    start = parameters(*sizes)
    ours, theirs, exact = clones(start), clones(start), clones(start, torch.float64)
    optimizers = [
        case.ours(ours, **case.settings),
        case.theirs(theirs, **case.settings, foreach=False),
        case.theirs(exact, **case.settings, foreach=False),
    ]
    for step in range(300):
        for params, optimizer in zip((ours, theirs, exact), optimizers, strict=True):
            for index, param in enumerate(params):
                offset = 1009 * step + 17 * index
                param.grad = noise[offset : offset + param.numel()].to(param.dtype)
            optimizer.step()
    for size in set(SIZES) - {0}:
        rows = [index for index, other in enumerate(sizes) if other == size]
        our_error, their_error = (
            worst_error([params[i] for i in rows], [exact[i] for i in rows])
            for params in (ours, theirs)
        )
        assert our_error <= 1.5 * their_error, f"size {size}"


@every_case
def test_strided_view_and_empty_tensor(case: Case) -> None:
    base = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    results = []
    for cls in (case.ours, case.theirs):
        memory = base.clone()
        params = [torch.nn.Parameter(memory[::2, 1:5]), torch.nn.Parameter(torch.empty(0, 3))]
        optimizer = cls(params, **case.settings)
        train(optimizer, params, 20)
        results.append((params[0].detach().clone(), memory, optimizer))
    (ours, ours_memory, a), (theirs, theirs_memory, b) = results
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours_memory, theirs_memory)
    assert torch.equal(ours_memory[1::2], base[1::2])  # the rows in between are not ours
    assert_same_state(a, b)


@every_case
def test_nan_and_infinity_as_torch(case: Case) -> None:
    if case.settings.get("betas", (0.9,))[0] <= 0.5:
        pytest.skip("torch's lerp turns an infinite gradient into NaN at once for β1 <= 0.5")
    bad = torch.tensor([math.nan, math.inf, -math.inf, 1.0, 0.0, 1e30, -1e-38, 2.0] * 4)
    start = parameters(32)
    ours, theirs = clones(start), clones(start)
    optimizers = [case.ours(ours, **case.settings), case.theirs(theirs, **case.settings)]
    for step in range(4):
        grad = bad.roll(step) if step < 2 else torch.ones(32)
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            params[0].grad = grad.clone()
            optimizer.step()
        torch.testing.assert_close(ours, theirs, equal_nan=True)
        a, b = (o.state_dict()["state"] for o in optimizers)
        for name in a.get(0, {}):
            torch.testing.assert_close(a[0][name], b[0][name], equal_nan=True)


@every_case
@pytest.mark.parametrize(
    ("dtype", "rtol"),
    [
        (torch.float64, 1e-12),
        (torch.bfloat16, 5e-2),
        (torch.float16, 1e-2),
        (torch.complex64, 1e-4),
    ],
    ids=str,
)
def test_other_dtypes_as_torch(case: Case, dtype: torch.dtype, rtol: float) -> None:
    start = parameters(33, (3, 4), dtype=dtype)
    ours, theirs = clones(start), clones(start)
    a, b = case.ours(ours, **case.settings), case.theirs(theirs, **case.settings, foreach=False)
    train(a, ours, 10)
    train(b, theirs, 10)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)


@every_case
def test_both_backends_agree(case: Case) -> None:
    start = parameters(1000, (7, 9), ())
    kernel, reference = clones(start), clones(start)
    train(case.ours(kernel, **case.settings, backend="cpu"), kernel, 30)
    train(case.ours(reference, **case.settings, backend="reference"), reference, 30)
    torch.testing.assert_close(kernel, reference, rtol=2e-5, atol=2e-6)


@every_case
def test_groups_have_their_own_settings(case: Case) -> None:
    start = parameters(100, 50, 20)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        groups = [
            {"params": params[:1], "lr": 5e-3},
            {"params": params[1:2], "weight_decay": 0.3},
            {"params": params[2:]},
        ]
        optimizer = cls(groups, **case.settings)
        train(optimizer, params, 20)
        results.append((params, optimizer))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert_same_state(results[0][1], results[1][1])


@every_case
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, total_steps=20),
    ],
    ids=["step", "cosine", "one-cycle"],
)
def test_schedulers_drive_it(case: Case, schedule: Callable[[Optimizer], object]) -> None:
    start = parameters(64)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        optimizer = cls(params, **case.settings)
        scheduler = schedule(optimizer)
        for step in range(10):
            train(optimizer, params, 1, seed=step)
            scheduler.step()
        results.append(params)
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@every_case
def test_tensor_learning_rate(case: Case) -> None:
    start = parameters(64)
    by_number, by_tensor = clones(start), clones(start)
    settings = {**case.settings, "lr": 0.015625}
    train(case.ours(by_number, **settings), by_number, 10)
    settings["lr"] = torch.tensor(0.015625)
    train(case.ours(by_tensor, **settings), by_tensor, 10)
    assert torch.equal(by_number[0], by_tensor[0])


@every_case
def test_closure_is_evaluated_once_with_gradients_enabled(case: Case) -> None:
    (param,) = parameters(8)
    optimizer = case.ours([param], **case.settings)
    calls = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    before = float((param**2).sum().detach())
    with torch.no_grad():
        assert float(optimizer.step(closure)) == pytest.approx(before)
    assert calls == [True]


@every_case
def test_missing_gradients_leave_parameters_alone(case: Case) -> None:
    start = parameters(10, 20, 30)
    results = []
    for cls in (case.ours, case.theirs):
        params = clones(start)
        optimizer = cls(params, **case.settings)
        for step in range(6):
            for index, param in enumerate(params):
                present = step % (index + 1) == index
                param.grad = torch.full_like(param, 0.1 * (step + 1)) if present else None
            optimizer.step()
        results.append((params, optimizer))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert_same_state(results[0][1], results[1][1])


@every_case
@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_state_dict_both_ways(case: Case, direction: str) -> None:
    first, second = (case.ours, case.theirs)[:: 1 if direction == "to torch" else -1]
    params = parameters(65, (4, 5))
    optimizer = first(params, **case.settings)
    train(optimizer, params, 10)
    stream = io.BytesIO()
    torch.save(optimizer.state_dict(), stream)
    stream.seek(0)
    copies = clones(params)
    other = second(copies, **case.settings)
    other.load_state_dict(torch.load(stream, weights_only=True))
    train(optimizer, params, 20, seed=7)
    train(other, copies, 20, seed=7)
    torch.testing.assert_close(params, copies, rtol=1e-4, atol=1e-6)
    assert_same_state(optimizer, other)


@every_case
def test_state_dict_has_torchs_keys(case: Case) -> None:
    dicts = []
    for cls in (case.ours, case.theirs):
        params = parameters(6)
        optimizer = cls(params, **case.settings)
        train(optimizer, params, 2)
        dicts.append(optimizer.state_dict())
    ours, theirs = dicts
    assert ours["param_groups"] == theirs["param_groups"]
    assert {k: list(v) for k, v in ours["state"].items()} == {
        k: list(v) for k, v in theirs["state"].items()
    }


@every_case
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_continue_alike(
    case: Case, copier: Callable[[RuleOptimizer], RuleOptimizer]
) -> None:
    params = parameters(65, 3)
    optimizer = case.ours(params, **case.settings)
    train(optimizer, params, 5)
    other = copier(optimizer)
    others = other.param_groups[0]["params"]
    train(optimizer, params, 5, seed=2)
    train(other, others, 5, seed=2)
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
    assert all(p.data_ptr() != q.data_ptr() for p, q in zip(params, others, strict=True))
    assert other.backend == optimizer.backend


@every_case
def test_same_bits_for_any_number_of_threads(case: Case) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            params = parameters(1_200_001, 70_000, 13)
            train(case.ours(params, **case.settings), params, 3)
            results.append(params)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(p, q) for p, q in zip(results[0], other, strict=True))


@every_case
def test_two_python_threads_step_two_optimizers(case: Case) -> None:
    def run(seed: int) -> list[torch.nn.Parameter]:
        params = parameters(700_000, 13, seed=seed)
        train(case.ours(params, **case.settings), params, 4)
        return params

    alone = [run(0), run(1)]
    with ThreadPoolExecutor(2) as executor:
        together = list(executor.map(run, (0, 1)))
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@every_case
def test_changed_settings_do_not_recompile(case: Case) -> None:
    params = parameters(100)
    optimizer = case.ours(params, **case.settings)
    train(optimizer, params, 1)
    (group,) = optimizer.param_groups
    with event.install_recorder("numba:compile") as compilations:
        for factor in (0.5, 0.25, 0.125):
            for name in ("lr", "eps", "weight_decay", "momentum", "alpha"):
                if group.get(name):
                    group[name] *= factor
            group["weight_decay"] = 0.0 if factor == 0.25 else 0.1
            if "betas" in group:
                group["betas"] = (0.8 + factor / 10, 0.9)
            train(optimizer, params, 1)
    assert not compilations.buffer


@every_case
def test_finds_the_bottom_of_a_parabola(case: Case) -> None:
    settings = {**case.settings, "maximize": False, "weight_decay": 0.0}
    settings.setdefault("lr", 1e-2)
    target = torch.tensor([1.0, -2.0, 0.5])
    param = torch.nn.Parameter(torch.zeros(3))
    optimizer = case.ours([param], **settings)
    for _ in range(1500):
        optimizer.zero_grad()
        (0.5 * (param - target) ** 2).sum().backward()
        optimizer.step()
    assert float((param - target).detach().abs().max()) < 2e-2


@every_case
def test_descends_rosenbrock_as_torch_does(case: Case) -> None:
    settings = {**case.settings, "lr": case.rosenbrock_lr, "maximize": False, "weight_decay": 0.0}
    if "momentum" in settings:
        settings["lr"] /= 10
    paths = []
    for cls, steps in ((case.ours, 3000), (case.theirs, 100)):
        param = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        optimizer = cls([param], **settings)
        path = []
        for _ in range(steps):
            optimizer.zero_grad()
            x, y = param
            ((1 - x) ** 2 + 100 * (y - x * x) ** 2).backward()
            optimizer.step()
            path.append(param.detach().clone())
        paths.append(torch.stack(path))
    # Later on, some of the settings jump about the valley, and rounding decides where to.
    torch.testing.assert_close(paths[0][:100], paths[1], rtol=1e-6, atol=1e-6)
    assert float((paths[0][-1] - 1).abs().max()) < 0.7  # the optimum is (1, 1), the start 2.2 off


@every_case
def test_differentiable_has_the_slopes_of_finite_differences(case: Case) -> None:
    def end(start: Tensor, lr: Tensor, grad: Tensor) -> Tensor:
        param = start.clone()
        param.retain_grad()
        optimizer = case.ours([param], **{**case.settings, "lr": lr}, differentiable=True)
        for step in range(3):
            param.grad = grad * (1.5 * step - 1)
            optimizer.step()
        return param

    inputs = [[-1.0, 0.3, 2.0], 0.05, [0.7, -0.2, 1.1]]
    assert torch.autograd.gradcheck(
        end, [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs], atol=1e-5
    )


@every_case
def test_repeats_its_constructor_in_repr_and_keeps_hooks(case: Case) -> None:
    params = parameters(4)
    optimizer = case.ours(params, **case.settings)
    assert repr(optimizer).startswith(f"{case.ours.__name__} (\nParameter Group 0")
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    everyone = register_optimizer_step_post_hook(lambda *_: seen.append("everyone"))
    try:
        train(optimizer, params, 1)
    finally:
        everyone.remove()
    assert seen == ["before", "after", "everyone"]


BAD = [(name, settings) for name, rows in BAD_SETTINGS.items() for settings in rows]


@pytest.mark.parametrize(("name", "settings"), BAD, ids=lambda value: str(value)[:60])
def test_bad_settings_raise_what_torch_raises(name: str, settings: dict[str, object]) -> None:
    params = parameters(3)
    with pytest.raises(Exception) as theirs:
        getattr(torch.optim, name)(params, **settings)
    with pytest.raises(type(theirs.value)) as ours:
        getattr(adamantine, name)(params, **settings)
    assert str(ours.value).startswith(str(theirs.value))


@pytest.mark.parametrize("name", sorted(BAD_SETTINGS))
def test_bad_group_settings_are_refused_and_leave_no_group(name: str) -> None:
    params = parameters(3, 4)
    optimizer = getattr(adamantine, name)(params[:1])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optimizer.add_param_group({"params": params[1:], "lr": -1})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_capturable_on_the_cpu_fails_as_torchs(name: str) -> None:
    messages = []
    for module in (torch.optim, adamantine):
        params = parameters(3)
        optimizer = getattr(module, name)(params, capturable=True)
        with pytest.raises(AssertionError, match="If capturable=True, params and state_steps") as e:
            train(optimizer, params, 1)
        messages.append(str(e.value)[:60])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", sorted(BAD_SETTINGS))
def test_constructor_takes_what_torchs_takes(name: str) -> None:
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    ours = dict(inspect.signature(getattr(adamantine, name)).parameters)
    assert ours.pop("backend").default == "auto"
    assert list(ours) == list(theirs)
    for parameter in theirs:
        assert ours[parameter].default == theirs[parameter].default
        assert ours[parameter].kind == theirs[parameter].kind


@pytest.mark.parametrize("name", sorted(BAD_SETTINGS))
@pytest.mark.parametrize("hint", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_hints_change_nothing(name: str, hint: dict[str, bool]) -> None:
    if not hint.keys() <= inspect.signature(getattr(torch.optim, name)).parameters.keys():
        pytest.skip(f"torch's {name} has no such hint")
    start = parameters(50)
    plain, hinted = clones(start), clones(start)
    train(getattr(adamantine, name)(plain), plain, 5)
    train(getattr(adamantine, name)(hinted, **hint), hinted, 5)
    assert torch.equal(plain[0], hinted[0])
