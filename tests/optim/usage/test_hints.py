"""What torch's classes refuse of their own switches, ours refuse too: same step, type and words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import adamantine
from torch_database import both, every_shared_class

PARAMETERS: dict[str, Callable[[], Tensor]] = {
    "float32": lambda: torch.ones(3),
    "complex64": lambda: torch.ones(3, dtype=torch.complex64),
    "meta": lambda: torch.ones(3, device="meta"),
}
TENSORS = {
    "lr": torch.tensor(0.1),
    "betas": (torch.tensor(0.9), torch.tensor(0.99)),
}


def refusal(cls: Any, kind: str, hints: dict[str, bool], late: bool, sparse: bool, tensor: str):
    """Where a class raises, and what; None where it does not."""
    param, where = PARAMETERS[kind](), "constructor"
    param.requires_grad_()
    if hints.get("differentiable"):
        param = param.clone()
        param.retain_grad()
    settings = {tensor: TENSORS[tensor]} if tensor else {}
    try:
        if late:
            optimizer = cls([{"params": [param], **hints}], **settings)
        else:
            optimizer = cls([param], **hints, **settings)
        where = "step"
        param.grad = torch.ones_like(param).detach()
        if sparse:
            param.grad = param.grad.to_sparse()
        optimizer.step()
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        return where, error
    return None


def switches(cls: Any) -> Iterator[dict[str, bool]]:
    known = [h for h in ("fused", "foreach", "capturable", "differentiable")
             if h in inspect.signature(cls).parameters]  # fmt: skip
    for values in product((False, True), repeat=len(known)):
        yield {name: True for name, on in zip(known, values, strict=True) if on}


def is_an_accident(name: str, hints: dict[str, bool], tensor: str) -> bool:
    """Where torch fails by what it happens to call, or is stricter with us for its constructor."""
    by_number = tensor == "betas" and name not in ("Adam", "AdamW")
    # Its constructor refuses these pairs; in groups, SGD ignores one of them.
    pairs = ({"fused", "differentiable"}, {"fused", "foreach"})
    return by_number or (name == "SGD" and any(pair <= hints.keys() for pair in pairs))


@every_shared_class
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # of torch's Adagrad
def test_switches_are_refused_where_torch_refuses_them(name: str) -> None:
    ours, theirs = both(name)
    compared = 0
    for kind, hints, late, sparse, tensor in product(
        PARAMETERS, switches(theirs), (False, True), (False, True), ("", "lr", "betas")
    ):
        if tensor and (kind != "float32" or tensor not in inspect.signature(theirs).parameters):
            continue
        if (sparse or name in ("ASGD", "Adafactor")) and kind == "meta":
            continue  # torch's reads numbers that are on the parameter's device
        if is_an_accident(name, hints, tensor):
            continue
        given = (kind, hints, late, sparse, tensor)
        expected, found = refusal(theirs, *given), refusal(ours, *given)
        if expected is None:
            # Ours refuses a derivative through rows that torch would leave out of its graph.
            assert found is None or (sparse and "differentiable" in hints), (given, found)
            continue
        assert found is not None, (given, expected)
        assert found[0] == expected[0], (given, expected, found)
        assert isinstance(found[1], type(expected[1])), (given, expected, found)
        compared += 1
    assert compared > 4


@pytest.mark.parametrize("name", ["Lion", "ADOPT"])
def test_fused_means_the_same_to_those_that_torch_has_not(name: str) -> None:
    for param in (torch.ones(3, device="meta"), torch.ones(3, dtype=torch.complex64)):
        param.requires_grad_()
        param.grad = torch.ones_like(param).detach()
        optimizer = getattr(adamantine, name)([param], fused=True)
        with pytest.raises(RuntimeError, match="`fused=True` requires all the params to be float"):
            optimizer.step()
        assert not optimizer.state


def test_a_switch_that_is_set_later_counts() -> None:
    param = torch.ones(3, requires_grad=True)
    optimizer = adamantine.AdamW([param])
    param.grad = torch.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["capturable"] = True
    before = param.detach().clone()
    with pytest.raises(AssertionError, match="params and state_steps must be on supported device"):
        optimizer.step()
    assert torch.equal(param.detach(), before)


def test_no_derivative_by_the_step_count() -> None:
    param = torch.ones(3, requires_grad=True).clone()
    optimizer = adamantine.Adam([param], differentiable=True)
    optimizer.state[param]["step"] = torch.tensor(1.0, requires_grad=True)
    param.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="`requires_grad` is not supported for `step` in diff"):
        optimizer.step()
