"""States of another shape than their parameter's, and another rule for vectors: a rule of its own,
which subtracts its gradient and a number of its row that counts steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from adamantine.backends import BackendName
from adamantine.errors import BackendError, StateError, UsageError
from adamantine.optim import RuleOptimizer
from adamantine.rules import Family, Rule, Settings, per_column, per_row
from adamantine.rules.hyperparameters import LEARNING_RATE


def with_rows(param, grad, counted, columns, sign, lr):
    return param - lr * (sign * grad + counted), counted + lr, columns + lr


def alone(param, grad, whole, sign, lr):
    return param - lr * sign * grad, whole + lr * grad


MATRICES = Rule(
    with_rows,
    ("counted", "columns"),
    shapes={"counted": per_row, "columns": per_column},
    of_vectors=Rule(alone, ("whole",)),
)


def _scalars(settings: Settings, _step: float) -> dict[str, Any]:
    return {"sign": 1.0, "lr": settings["lr"]}


class WithRows(RuleOptimizer):
    family = Family("with-rows", "none", (LEARNING_RATE,), lambda _: MATRICES, _scalars)

    def __init__(self, params: Any, lr: float = 0.5, backend: BackendName = "auto", **options: Any):
        super().__init__(params, {"lr": lr}, backend, options)


@pytest.fixture
def params() -> list[nn.Parameter]:
    made = [nn.Parameter(torch.ones(shape)) for shape in [(2, 3), (4,), (2, 3, 4), ()]]
    for param in made:
        param.grad = torch.ones_like(param)
    return made


def shapes_of(optimizer: RuleOptimizer) -> list[dict[str, tuple[int, ...]]]:
    states = [optimizer.state[param] for param in optimizer.param_groups[0]["params"]]
    return [{k: tuple(value.shape) for k, value in s.items() if k != "step"} for s in states]


def test_states_have_the_shapes_that_the_rule_says(params):
    optimizer = WithRows(params)
    optimizer.step()
    optimizer.step()
    assert shapes_of(optimizer) == [
        {"counted": (2, 1), "columns": (1, 3)},
        {"whole": (4,)},
        {"counted": (2, 3, 1), "columns": (2, 1, 4)},
        {"whole": ()},
    ]
    assert params[0].tolist() == [[1 - 0.5 - 0.5 * 1.5] * 3] * 2
    assert params[1].tolist() == [0.0] * 4
    assert optimizer.state[params[0]]["counted"].tolist() == [[1.0], [1.0]]


def test_they_are_in_the_order_of_rows_and_columns_whatever_their_parameters_strides():
    param = nn.Parameter(torch.ones(3, 2).t())
    param.grad = torch.ones(2, 3)
    optimizer = WithRows([param])
    optimizer.step()
    assert optimizer.state[param]["counted"].is_contiguous()


@pytest.mark.parametrize("how", ["loaded", "copied", "shared", "in backward", "offloaded"])
def test_they_go_where_all_states_go(params, how):
    options = {"offload": True} if how == "offloaded" else {}
    optimizer = WithRows(params, **options)
    if how == "shared":
        optimizer.share_memory()
    if how == "in backward":
        optimizer.step_in_backward(nn.ParameterList(params))
        sum(p.sum() for p in params).backward()
    else:
        optimizer.step()
    if how == "copied":
        optimizer = copy.deepcopy(optimizer)
    if how == "loaded":
        saved = copy.deepcopy(optimizer.state_dict())
        optimizer = WithRows(params)
        optimizer.load_state_dict(saved)
        optimizer.step()
        assert optimizer.state[params[0]]["counted"].tolist() == [[1.0], [1.0]]
    assert shapes_of(optimizer)[2] == {"counted": (2, 3, 1), "columns": (2, 1, 4)}
    assert shapes_of(optimizer)[1] == {"whole": (4,)}


def test_a_state_of_another_shape_is_not_loaded(params):
    optimizer = WithRows(params)
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][2]["columns"] = torch.zeros(2, 3, 4)
    with pytest.raises(StateError, match=r"'columns'.*\(2, 3, 4\), expected shape \(2, 1, 4\)"):
        optimizer.load_state_dict(saved)


def test_one_that_is_there_is_checked_too(params):
    optimizer = WithRows(params)
    optimizer.state[params[0]] = {"counted": torch.zeros(2, 3)}
    with pytest.raises(StateError, match=r"'counted'.*for which it is of shape \(2, 1\)"):
        optimizer.step()


def test_what_takes_little_room_is_not_rounded(params):
    optimizer = WithRows(params, state_dtype="bfloat16")
    optimizer.step()
    matrix, vector = (optimizer.state[params[i]] for i in (0, 1))
    assert {matrix["counted"].dtype, matrix["columns"].dtype} == {torch.float32}
    assert vector["whole"].dtype == torch.bfloat16
    with pytest.raises(UsageError, match="names 'counted', which is not of its parameter's shape"):
        WithRows(params[:1], state_dtype={"counted": "int8"}).step()


@pytest.mark.parametrize("option", [{"master": "float32"}, {"param_rounding": "kahan"}])
def test_beside_parameters_of_16_bits_kept_in_two_tensors(option):
    param = nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16))
    param.grad = torch.ones_like(param)
    optimizer = WithRows([param], lr=0.25, **option)
    optimizer.step()
    assert optimizer.state[param]["counted"].shape == (2, 1)
    assert param.tolist() == [[0.75] * 3] * 2


def test_kernels_say_that_they_cannot(params):
    """Numbers for rows and columns have to come from factors."""
    with pytest.raises(BackendError, match=r"other shapes.*use backend='auto'"):
        WithRows(params[:1], backend="cpu").step()
    WithRows(params[1:2], backend="cpu").step()
