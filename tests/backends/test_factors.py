"""Numbers for rows and columns on the CPU, and the loops that read them beside elements."""

from __future__ import annotations

import re

import pytest
import torch
from numba import cfunc

from adamantine import Adafactor
from adamantine.backends.cpu.kernel import kernel
from adamantine.backends.formats import Format
from adamantine.rules import Factor, Rule, Sums, per_column, per_row
from adamantine.rules.adafactor import FACTORED, FACTORED_AVERAGE, FACTORS
from adamantine.rules.arrangement import arrangement, arrangements

FLOAT32 = Format(torch.float32)


def llvm_of(function) -> str:
    return cfunc(kernel.SIGNATURE, **kernel.OPTIONS)(function).inspect_llvm()


@pytest.mark.parametrize(
    "shape", [(130, 2500), (70_000, 3), (3, 70_000), (5, 1, 9), (40, 3, 3), (1, 1), (0, 4), (2, 0)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sums_over_units_are_those_of_rows_and_columns(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """The averages are those of the first gradient."""
    param = torch.nn.Parameter(torch.ones(shape, dtype=dtype))
    optimizer = Adafactor([param], backend="cpu")
    param.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    optimizer.step()
    squares = param.grad.double().square()
    for name, dim in (("row_var", -1), ("col_var", -2)):
        found = optimizer.state[param][name]
        exact = squares.sum(dim, keepdim=True) / max(1, shape[dim])
        assert found.dtype == dtype
        torch.testing.assert_close(
            found.double(), exact, rtol=max(4 * torch.finfo(dtype).eps, 1e-13), atol=0
        )


@pytest.mark.parametrize("rule", [FACTORED, FACTORED_AVERAGE], ids=lambda rule: rule.name)
def test_the_update_is_vectorised(rule: Rule) -> None:
    formats = (FLOAT32,) * (1 + len(rule.states) - len(rule.shapes))
    llvm = llvm_of(kernel.updating(rule, formats, rule.name))
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"store <\d+ x float>", llvm)
    for operation in set(re.findall(r"= (f(?:mul|div)) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation


def test_both_passes_of_sums_are_vectorised() -> None:
    sums = FACTORED.sums
    assert sums is not None
    arranged = arrangement(FACTORED, sums.arguments)
    llvm = llvm_of(kernel.summing(sums, (FLOAT32, FLOAT32), "sums", arranged))
    assert re.search(r"= fadd reassoc contract <\d+ x double>", llvm)
    (name,) = {factor.of.__name__ for factor in FACTORS[:2]}
    assert name == "signed"
    llvm = llvm_of(kernel.summing_along(FACTORS[0], (FLOAT32,), "along"))
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"store <\d+ x double>", llvm)


def test_what_the_loops_cannot_call_is_left_to_lists() -> None:
    assert arrangements(FACTORED) is not None

    def columns_first(param, grad, col_var, row_var, sign):
        return param, col_var, row_var

    shapes = {"row_var": per_row, "col_var": per_column}
    other = Rule(columns_first, ("col_var", "row_var"), shapes=shapes, factors=FACTORS[:2])
    assert arrangements(other) is None

    def in_order(param, grad, row_var, col_var, sign):
        return param, row_var, col_var

    fine = Rule(in_order, ("row_var", "col_var"), shapes=shapes, factors=FACTORS[:2])
    assert arrangements(fine) is not None
    undecided = Rule(in_order, ("row_var", "col_var"), shapes=shapes, factors=FACTORS[:1])
    assert arrangements(undecided) is None

    def with_number(param, grad, row_var, col_var, sign, per_col):
        return param, row_var, col_var

    number = Factor(FACTORS[0].of, "sum", "columns", "per_col", lambda total: total)
    beside = Rule(
        with_number, ("row_var", "col_var"), shapes=shapes, factors=(*FACTORS[:2], number)
    )
    assert arrangements(beside) is None  # of the scalars, those for a row alone are read

    def param_alone(param):
        return (param,)

    sums = Sums(param_alone, ("total",), "sum", "sign", lambda total: total)
    no_vectors = Rule(
        in_order, ("row_var", "col_var"), sums=sums, shapes=shapes, factors=FACTORS[:2]
    )
    assert arrangements(no_vectors) is None
