"""Steps that somebody watches: every operation runs where tracers, transforms and counters see it.

The oracle is torch's class (or the paper's box) outside of any mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import adamantine
from adamantine.errors import BackendError
from adamantine.optim.matrices import MatrixOptimizer
from cases import CASES, Case, rule_of

# What forward-mode derivatives and the old tracer are made of.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")

Step = Callable[[Tensor, Tensor], Tensor]

BY_RULE = list({rule_of(case): case for case in reversed(CASES)}.values())
BY_CLASS = list({case.ours: case for case in reversed(CASES)}.values())
"""A row for each; modes see operations, and settings are numbers in them."""
NEEDS_NUMBERS = [case for case in BY_CLASS if rule_of(case).shared_sums]
"""Those whose steps have to know a number; who records operations for other numbers cannot."""
OF_MATRICES = [case for case in BY_CLASS if issubclass(case.ours, MatrixOptimizer)]
"""They write to memory of their own, which is no batch, and carries no slopes."""


def two_steps(cls: type[torch.optim.Optimizer], settings: dict[str, Any], **more: Any) -> Step:
    def run(start: Tensor, grad: Tensor) -> Tensor:
        param = start.detach().clone()
        optimizer = cls([param], **settings, **more)
        for factor in (1, -0.5):
            param.grad = grad * factor
            optimizer.step()
        return param * 1

    return run


def draw(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)


EXAMPLE, START, OTHER = draw(0), draw(1), draw(2)


class Count(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


class CountFunctions(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def traced(how: str) -> Callable[[Step], Tensor]:
    # Traced with other numbers than it is run with: what is not in the graph is wrong.
    return lambda run: make_fx(run, tracing_mode=how)(*EXAMPLE)(*START)


def counted(mode: type[Count] | type[CountFunctions]) -> Callable[[Step], Tensor]:
    def watch(run: Step) -> Tensor:
        with mode() as seen:
            result = run(*START)
        assert seen.calls > 10
        return result

    return watch


def mapped(run: Step) -> Tensor:
    both = [torch.stack(pair) for pair in zip(OTHER, START, strict=True)]
    return torch.vmap(run)(*both)[1]


def with_flops(run: Step) -> Tensor:
    with FlopCounterMode(display=False):
        return run(*START)


def with_gradient(run: Step) -> Tensor:
    def loss(start: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        end = run(start, grad)
        return end.sum(), end

    return torch.func.grad(loss, has_aux=True)(*START)[1]


WATCHED = {
    "make_fx-real": traced("real"),
    "make_fx-fake": traced("fake"),
    "make_fx-symbolic": traced("symbolic"),
    "functionalize": lambda run: torch.func.functionalize(run)(*START),
    "vmap": mapped,
    "func.grad": with_gradient,
    "func.jvp": lambda run: torch.func.jvp(run, START, OTHER)[0],
    "flops": with_flops,
    "dispatch": counted(Count),
    "function": counted(CountFunctions),
}


SLOW = ("make_fx-fake", "make_fx-symbolic")
RECORDS = (*SLOW, "make_fx-real", "vmap")


@pytest.mark.parametrize("name", WATCHED)
def test_a_watched_step_is_torchs(name: str, subtests: pytest.Subtests) -> None:
    watched = WATCHED[name]
    for case in BY_CLASS if name in SLOW else BY_RULE:
        if (case in NEEDS_NUMBERS and name in RECORDS) or (case in OF_MATRICES and name == "vmap"):
            continue
        with subtests.test(case.name):
            expected = two_steps(case.theirs, case.settings)(*START)
            found = watched(two_steps(case.ours, case.settings))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_backward_transforms_see_the_derivatives_that_they_see_in_torch(
    subtests: pytest.Subtests,
) -> None:
    """A step is no part of the backward graph unless it is ``differentiable``."""
    for case in BY_RULE:
        if case.theirs.__module__.startswith("torch."):
            with subtests.test(case.name):
                torch.testing.assert_close(
                    *(
                        torch.func.grad(lambda *x, run=run: run(*x).square().sum(), (0, 1))(*START)
                        for run in (two_steps(c, case.settings) for c in (case.ours, case.theirs))
                    ),
                    rtol=1e-4,
                    atol=1e-5,
                )


def test_forward_mode_has_the_slopes_of_finite_differences(subtests: pytest.Subtests) -> None:
    """By the gradients; torch's own steps lose some of it, where they detach a first momentum."""
    (start, grad), tangent, h = map(Tensor.double, START), OTHER[1].double(), 1e-7
    for case in BY_RULE:
        if case in NEEDS_NUMBERS + OF_MATRICES:
            continue
        with subtests.test(case.name):
            run = partial(two_steps(case.ours, case.settings, backend="reference"), start)
            slopes = (run(grad + h * tangent) - run(grad - h * tangent)) / (2 * h)
            found = torch.func.jvp(run, (grad,), (tangent,))[1]
            torch.testing.assert_close(found, slopes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", [CASES[0], CASES[7], CASES[-2]], ids=str)
def test_fake_tensors_stay_fake(case: Case) -> None:
    with FakeTensorMode() as mode:
        found = two_steps(case.ours, case.settings)(*map(mode.from_tensor, START))
        assert mode.is_our_fake(found)
    assert (found.shape, found.dtype) == (START[0].shape, START[0].dtype)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", ["make_fx-real", "functionalize", "vmap", "flops"])
def test_rounded_states_under_modes(name: str, state_dtype: str) -> None:
    run = two_steps(adamantine.AdamW, {"lr": 0.1}, state_dtype=state_dtype)
    torch.testing.assert_close(WATCHED[name](run), run(*START), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("master", ["float32", "24bit"])
@pytest.mark.parametrize("name", ["make_fx-real", "functionalize", "vmap", "flops"])
def test_masters_under_modes(name: str, master: str) -> None:
    steps = two_steps(adamantine.AdamW, {"lr": 0.1}, master=master, backend="reference")

    def run(start: Tensor, grad: Tensor) -> Tensor:
        return steps(start.bfloat16(), grad.bfloat16()).float()

    torch.testing.assert_close(WATCHED[name](run), run(*START), rtol=0, atol=0)


def test_kernels_step_aside_only_while_somebody_looks() -> None:
    sides = []
    for cls in (adamantine.AdamW, torch.optim.AdamW):
        param = START[0].clone().requires_grad_()
        optimizer = cls([param], lr=0.1)
        for step in range(6):
            param.grad = OTHER[0] * (step + 1)
            if step % 3 == 1:
                with FlopCounterMode(display=False):
                    optimizer.step()
            else:
                optimizer.step()
                if cls is adamantine.AdamW:
                    assert optimizer._plan is not None
                    assert optimizer._plan._tables
        sides.append(param.detach())
    torch.testing.assert_close(*sides, rtol=1e-5, atol=1e-6)


def test_a_default_device_is_no_observer() -> None:
    param = torch.ones(3, requires_grad=True)
    param.grad = torch.ones(3)
    optimizer = adamantine.SGD([param], backend="cpu")
    with torch.device("cpu"):
        optimizer.step()
    assert float(param.detach()[0]) == pytest.approx(0.999)


def test_who_insists_on_kernels_is_told_who_looks() -> None:
    param = torch.ones(3, requires_grad=True)
    param.grad = torch.ones(3)
    optimizer = adamantine.SGD([param], backend="cpu")
    with Count(), pytest.raises(BackendError, match="seen by Count, which compiled kernels would"):
        optimizer.step()
    assert torch.equal(param.detach(), torch.ones(3))


def test_sparse_rows_are_seen_too() -> None:
    sides = []
    for watched in (False, True):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 2, sparse=True)
        optimizer = adamantine.Adam(table.parameters(), sparse="exact")
        for rows in ([1, 2, 1], [0, 3], [1]):
            optimizer.zero_grad()
            table(torch.tensor(rows)).sum().backward()
            with Count() as seen:
                if watched:
                    optimizer.step()
            if not watched:
                optimizer.step()
            assert not watched or seen.calls > 10
        optimizer.flush()
        sides.append(table.weight.detach())
    torch.testing.assert_close(*sides)


def test_dual_numbers_go_through_the_step() -> None:
    param_and_tangent = []
    for cls in (adamantine.SGD, torch.optim.SGD):
        with forward_ad.dual_level():
            param = forward_ad.make_dual(torch.ones(3), torch.arange(3.0))
            optimizer = cls([param], lr=0.1, weight_decay=0.5)
            param.grad = torch.ones(3)
            optimizer.step()
            param_and_tangent.append(tuple(forward_ad.unpack_dual(param)))
    torch.testing.assert_close(*param_and_tangent)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_old_tracer_sees_the_step() -> None:
    run = two_steps(adamantine.AdamW, {"lr": 0.1})
    found = torch.jit.trace(run, EXAMPLE, check_trace=False)(*START)
    torch.testing.assert_close(found, two_steps(torch.optim.AdamW, {"lr": 0.1})(*START))


@pytest.mark.parametrize("name", ["make_fx-real", "vmap"])
def test_a_norm_that_has_to_be_a_number_is_an_error_not_a_constant(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"tracing tensor|vmap"):
        WATCHED[name](two_steps(adamantine.AdamW, {"max_grad_norm": 1.0}))
    with pytest.raises(RuntimeError, match=r"tracing tensor|vmap"):
        WATCHED[name](two_steps(adamantine.Prodigy, {}))
