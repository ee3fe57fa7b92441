"""Options around the step: the norm by brute force, what is skipped and told, what is zeroed."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import adamantine
from adamantine.errors import BackendError, NonFiniteError
from adamantine.optim import RuleOptimizer
from step_options_cases import DTYPES, every_backend, layer_of, with_gradients

copiers = pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)


def numbers(grads: list[Tensor]) -> list[float]:
    flat = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
    return [x for g in flat for x in g.double().flatten().tolist()]


# Any float32, the denormal and the largest among them; repeated, to fill more than one lane.
float32s = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40)
arrays = st.tuples(float32s, st.integers(1, 7), st.sampled_from(DTYPES))


@settings(deadline=None)
@given(st.lists(arrays, min_size=1, max_size=4), st.sampled_from(["auto", "lists", "reference"]))
def test_the_norm_by_brute_force(drawn: list[tuple[list[float], int, Any]], backend: Any) -> None:
    grads = [torch.tensor(values * times).to(dtype) for values, times, dtype in drawn]
    optimizer = adamantine.SGD(with_gradients(*grads), max_grad_norm=1.0, backend=backend)
    optimizer.step()
    found = numbers(grads)
    if all(map(math.isfinite, found)):
        exact = math.sqrt(math.fsum(x * x for x in found))
        assert optimizer.grad_norm == pytest.approx(exact, rel=1e-13, abs=0)
    else:  # rounding to 16 bits has made it so
        assert not math.isfinite(optimizer.grad_norm)


@settings(deadline=None)
@given(
    st.integers(0, 40_000), st.sampled_from([math.nan, math.inf, -math.inf]),
    st.sampled_from(DTYPES), st.sampled_from(["auto", "lists", "reference"]),
)  # fmt: skip
def test_one_bad_element_anywhere_is_found(
    where: int, bad: float, dtype: torch.dtype, backend: Any
) -> None:
    grads = [torch.ones(10), torch.ones(40_001, dtype=dtype)]
    params = with_gradients(*grads)
    optimizer = adamantine.AdamW(params, skip_nonfinite=True, backend=backend)
    grads[1][where] = bad
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert not any(p.any() for p in params)
    assert not optimizer.state


def test_the_largest_gradients_are_clipped_exactly() -> None:
    largest = torch.finfo(torch.float32).max
    (param,) = params = with_gradients(torch.full((1000,), largest))
    optimizer = adamantine.SGD(params, lr=1.0, max_grad_norm=1.0)
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(largest * math.sqrt(1000))
    # torch's norm overflows here, and nothing is left of the gradient. (The coefficient is a
    # denormal number, with fewer digits.)
    torch.testing.assert_close(
        param.detach(), torch.full((1000,), -(1000**-0.5)), rtol=1e-5, atol=0
    )


def test_the_norm_is_known_only_where_it_is_asked_for() -> None:
    params = with_gradients(torch.tensor([3.0, 4.0]))
    plain = adamantine.SGD(params)
    asked = adamantine.SGD(params, skip_nonfinite=True)
    assert asked.grad_norm is None
    plain.step()
    asked.step()
    assert (plain.grad_norm, asked.grad_norm) == (None, 5.0)
    params[0].grad = None
    asked.step()
    assert asked.grad_norm == 0.0


def test_after_so_many_in_a_row_it_tells_whose_they_are() -> None:
    model = layer_of()
    optimizer = adamantine.AdamW(model.named_parameters(), skip_nonfinite=3)
    for good in (True, False, False, True, False, False):
        for param in model.parameters():
            param.grad = torch.ones_like(param)
        if not good:
            model[1].bias.grad[2] = math.nan
            model[2].weight.grad[0, 1] = math.inf
        optimizer.step()
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):  # who goes on hears it again
        with pytest.raises(
            NonFiniteError, match=r"in a row .* parameter '1\.bias', parameter '2\.weight'\."
        ):
            optimizer.step()
    assert optimizer.skipped_steps == 6
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_names_by_place_and_of_sparse_gradients() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    other = nn.Parameter(torch.ones(2))
    groups = [{"params": [other]}, {"params": table.parameters()}]
    optimizer = adamantine.SGD(groups, skip_nonfinite=1)
    (table(torch.tensor([1, 3])).sum() * math.inf).backward()
    other.grad = torch.ones(2)
    with pytest.raises(NonFiniteError, match=r"those of parameter 0 of group 1\. Nothing"):
        optimizer.step()
    assert torch.equal(other.detach(), torch.ones(2))


@copiers
def test_copies_go_on_counting(copier: Callable[[RuleOptimizer], RuleOptimizer]) -> None:
    params = with_gradients(torch.tensor([math.nan]))
    optimizer = adamantine.AdamW(params, skip_nonfinite=3, max_grad_norm=1.0)
    optimizer.step()
    optimizer.step()
    other = copier(optimizer)
    other.param_groups[0]["params"][0].grad = torch.tensor([math.nan])
    assert other.skipped_steps == 2
    with pytest.raises(NonFiniteError):
        other.step()
    assert (other.skipped_steps, optimizer.skipped_steps) == (3, 2)
    assert math.isnan(other.grad_norm)


def test_options_are_no_part_of_a_state_dict() -> None:
    params = with_gradients(torch.ones(3))
    plain = adamantine.AdamW(params)
    optimizer = adamantine.AdamW(params, max_grad_norm=1.0, skip_nonfinite=True, zero_grad="zeros")
    assert optimizer.state_dict() == plain.state_dict()
    optimizer.step()
    saved = optimizer.state_dict()
    torch.optim.AdamW(params).load_state_dict(saved)
    optimizer.load_state_dict(saved)
    params[0].grad.fill_(math.nan)
    optimizer.step()
    assert optimizer.skipped_steps == 1


def test_loaded_states_outlive_a_step_that_is_left_out() -> None:
    params = with_gradients(torch.ones(3))
    first = adamantine.AdamW(params)
    first.step()
    saved = copy.deepcopy(first.state_dict())
    second = adamantine.AdamW(params, skip_nonfinite=True)
    second.load_state_dict(copy.deepcopy(saved))
    params[0].grad = torch.full((3,), math.nan)
    second.step()
    for name, value in saved["state"][0].items():
        assert torch.equal(second.state_dict()["state"][0][name], value)


def test_the_scalers_tensors_are_read_once() -> None:
    class Counting:
        def __init__(self, value: float) -> None:
            self.value, self.reads = value, 0

        def __float__(self) -> float:
            self.reads += 1
            return self.value

    params = with_gradients(*(torch.ones(3) for _ in range(10)))
    groups = [{"params": params[:5]}, {"params": params[5:], "lr": 0.1}]
    optimizer = adamantine.SGD(groups, max_grad_norm=1.0, skip_nonfinite=True)
    optimizer.grad_scale, optimizer.found_inf = Counting(2.0), Counting(0.0)
    optimizer.step()
    assert (optimizer.grad_scale.reads, optimizer.found_inf.reads) == (1, 1)
    assert optimizer.grad_norm == math.sqrt(30) / 2


def test_a_scale_of_zero_divides_as_torch_does() -> None:
    (param,) = params = with_gradients(torch.tensor([1.0, 0.0]))
    optimizer = adamantine.SGD(params, lr=1.0)
    optimizer.grad_scale = torch.tensor(0.0)
    optimizer.step()
    assert param[0] == -math.inf
    assert param[1].isnan()


@every_backend
@pytest.mark.parametrize("name", ["Adam", "SGD", "Adagrad"])
@pytest.mark.parametrize("mode", ["lazy", "exact"])
def test_sparse_gradients_count_and_are_clipped(backend: Any, name: str, mode: Any) -> None:
    """Against the gradients that are left of them, given to the same optimizer."""
    kwargs = {"momentum": 0.9} if name == "SGD" else {}
    variants = {}
    for max_norm in (0.5, None):
        torch.manual_seed(0)
        table, other = nn.Embedding(12, 3, sparse=True), nn.Parameter(torch.randn(5))
        optimizer = getattr(adamantine, name)(
            [table.weight, other], sparse=mode, backend=backend, max_grad_norm=max_norm, **kwargs
        )
        for step in range(20):
            indices = torch.randint(12, (4,))  # some of them twice
            grad = torch.sparse_coo_tensor(
                indices[None], torch.randn(4, 3) * (step % 3), (12, 3), check_invariants=False
            )
            table.weight.grad, other.grad = grad, torch.randn(5) * 0.2
            dense = [grad.to_dense(), other.grad]
            norm = math.sqrt(sum(x * x for x in numbers(dense)))
            if max_norm is None:
                left = min(1.0, 0.5 / (norm + 1e-6))
                table.weight.grad, other.grad = grad * left, other.grad * left
            optimizer.step()
            if max_norm is not None:
                assert optimizer.grad_norm == pytest.approx(norm, rel=1e-6)
        optimizer.flush()
        variants[max_norm] = [table.weight, other]
    torch.testing.assert_close(variants[0.5], variants[None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_around_states_below_float32(backend: Any, state_dtype: Any) -> None:
    """Random numbers are those of the step that is done, whatever was left out before."""
    results = []
    for options in ({}, {"skip_nonfinite": True, "zero_grad": "zeros"}):
        (param,) = params = with_gradients(torch.ones(20_001))
        optimizer = adamantine.AdamW(params, backend=backend, state_dtype=state_dtype, **options)
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            grad = torch.randn(20_001, generator=generator)
            if options:
                param.grad = torch.full_like(grad, math.nan)
                optimizer.step()
                assert not param.grad.any()
            param.grad = grad
            optimizer.step()
            assert bool(param.grad.any()) != bool(options)
        results.append([param.detach(), *optimizer.state[param].values()])
    assert optimizer.skipped_steps == 4
    assert len(results[0]) == (4 if state_dtype == "bfloat16" else 6)
    assert all(map(torch.equal, *results))


def test_hooks_and_closures() -> None:
    seen = []
    (param,) = params = with_gradients(torch.ones(2))
    optimizer = adamantine.SGD(params, zero_grad=True, max_grad_norm=1.0)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append(param.grad))

    def closure() -> float:
        param.grad = torch.full((2,), 3.0)
        return 7.0

    assert optimizer.step(closure) == 7.0
    assert seen == ["before", None]
    assert optimizer.grad_norm == pytest.approx(math.sqrt(18))


def test_differentiable_steps_are_not_clipped_but_unscaled() -> None:
    scaled, plain = (torch.ones(3, requires_grad=True) for _ in range(2))
    slopes = []
    for grad, scale in ((scaled, 8.0), (plain, None)):
        param = torch.zeros(3, requires_grad=True).clone()
        param.retain_grad()
        optimizer = adamantine.SGD([param], lr=0.5, differentiable=True, skip_nonfinite=True)
        optimizer.grad_scale = None if scale is None else torch.tensor(scale)
        param.grad = grad * (scale or 1.0)
        optimizer.step()
        slopes.append(torch.autograd.grad((param * param).sum(), grad)[0])
    torch.testing.assert_close(*slopes)
    refused = adamantine.SGD([param], differentiable=True, max_grad_norm=1.0)
    with pytest.raises(BackendError, match="max_grad_norm does not go with differentiable=True"):
        refused.step()


def test_what_was_clipped_to_nothing_has_no_learning_rate() -> None:
    """An infinite norm clips to zero, by which nothing can be divided."""
    param = torch.nn.Parameter(torch.ones(300))
    optimizer = adamantine.Adam([param], max_grad_norm=1.0, collect_stats=True, backend="reference")
    param.grad = torch.ones(300)
    optimizer.step()
    param.grad[0] = torch.inf
    optimizer.step()
    (found,) = optimizer.stats()
    assert found.clipped == 0
    assert all(math.isnan(rate) for rate in found.learning_rates)
