"""The loops over rows: what LLVM makes of them, and how indices are looked up and sorted."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cfunc
from torch import Tensor

from adamantine.backends.cpu.kernel import kernel
from adamantine.backends.cpu.rows import kernels as rows
from adamantine.backends.cpu.rows import row_arguments
from adamantine.backends.cpu.rows.row_arguments import RowArguments
from adamantine.backends.dlpack import dtype_word
from adamantine.rules import Rule, adagrad, adam, sgd

RULES = [
    adam.AMSGRAD,
    *(
        pytest.param(rule, marks=pytest.mark.slow)
        for rule in (adam.ADAM, sgd.SGD, sgd.MOMENTUM_SGD, adagrad.ADAGRAD)
    ),
]
FLOAT = dtype_word(torch.float32)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_operation_on_elements_is_vectorised_float32(rule: Rule) -> None:
    loop = rows.specialised(rows._run_piece, rule, torch.float32, exact=True)
    llvm = cfunc(kernel.SIGNATURE, **kernel.OPTIONS)(loop).inspect_llvm()
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"store <\d+ x float>", llvm)
    for operation in set(re.findall(r"= (f\w+) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation
    assert not re.search(r"= f(?:add|sub|mul|div) \S* ?(?:double|<\d+ x double>)", llvm)
    assert not re.search(r"\b(fast|nnan|ninf|arcp|reassoc|afn)\b", llvm.split("!llvm")[0])


def gathered(arguments: RowArguments, table: int) -> tuple[list[int], list[list[int]]]:
    """The rows that were found, and the places of each one's gradients."""
    words = arguments.blocks[table]
    scratch = arguments._arrays[rows.SCRATCH]

    def read(word: int, kind: str, count: int) -> list[int]:
        begin = words[word] - scratch.ctypes.data
        found = scratch.view("uint8")[begin:].view(kind) if count else scratch[:0]
        return [int(n) for n in found[:count]]

    count = int(words[rows.COUNT])
    numbers = read(rows.NUMBERS, "int64", count)
    begins = read(rows.BEGINS, "int32", count + 1)
    order = read(rows.ORDER, "int32", int(words[rows.GIVEN]))
    return numbers, [order[a:b] for a, b in pairwise(begins)]


sizes = st.sampled_from([4, 300, 5_000, 2**20, 2**40])
drawn_indices = sizes.flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.integers(0, size - 1) | st.integers(0, 3), max_size=50),
        st.booleans(),
    )
)


@settings(deadline=None)
@given(st.lists(drawn_indices, min_size=1, max_size=3))
def test_sorting_is_stable_and_finds_each_row_once(
    drawn: list[tuple[int, list[int], bool]],
) -> None:
    """Of several tables at once, some of them given many indices, which are sorted otherwise."""
    arguments = RowArguments([(size, 1) for size, *_ in drawn], 0)
    given_ = [numbers * 40 if many else numbers for _, numbers, many in drawn]
    indices = [torch.tensor([numbers], dtype=torch.int64) for numbers in given_]
    values = [torch.zeros(len(numbers), 1) for numbers in given_]
    assert arguments.look(indices, values, FLOAT)
    assert arguments.gather(4) == -1
    assert arguments.weight == sum(len(set(numbers)) for numbers in given_)
    for table, numbers in enumerate(given_):
        found, places = gathered(arguments, table)
        assert found == sorted(set(numbers))
        assert places == [[j for j, n in enumerate(numbers) if n == row] for row in found]


@pytest.mark.parametrize("in_python", [False, True])
@pytest.mark.parametrize(
    ("shape", "dims", "bad"),
    [((7, 2), 1, 7), ((7, 2), 1, -1), ((7, 3, 2), 2, 3), ((7, 3), 2, -1)],
)
def test_the_table_with_a_bad_index_is_named(
    shape: tuple[int, ...], dims: int, bad: int, in_python: bool
) -> None:
    """Whatever its strides are; a table that sits the step out is none."""
    indices = torch.zeros(5, dims, dtype=torch.int64).t()
    values = torch.zeros(5, *shape[dims:])
    arguments = RowArguments([shape] * 3, 0)

    def look() -> int:
        if in_python:
            for table, (index, value) in enumerate(zip(tables, given_, strict=True)):
                arguments.give(table, index, value, 0 if value is None else value.numel())
        else:
            assert arguments.look(tables, given_, FLOAT)
        return arguments.gather(4)

    tables: list[Tensor | None] = [indices, None, indices.clone()]
    given_: list[Tensor | None] = [values, None, values]
    assert look() == -1
    assert tables[2] is not None
    tables[2][-1, 3] = bad
    assert look() == 2


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(3, 4, dtype=torch.float64),
        torch.zeros(4, 3).t(),
        torch.zeros(3, 4, device="meta"),
        torch.zeros(3, 8)[:, ::2],
    ],
)
def test_what_compiled_code_does_not_read_is_left_to_python(values: Tensor) -> None:
    arguments = RowArguments([(9, 4)], 0)
    indices = torch.tensor([[3, 1, 3]])
    assert arguments.look([indices], [torch.zeros(3, 4)], FLOAT)
    assert not arguments.look([indices], [values], FLOAT)
    assert not arguments.look([indices.int()], [torch.zeros(3, 4)], FLOAT)


def test_memory_of_a_large_step_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_arguments, "KEPT", rows.scratch_words(1, 100))
    arguments = RowArguments([(1_000, 1)], 0)
    for count, kept in ((100, True), (101, False), (50, True)):
        indices, values = torch.arange(count)[None], torch.zeros(count, 1)
        arguments.give(0, indices, values, count)
        assert arguments.gather(4) == -1
        arguments.release()
        assert (rows.SCRATCH in arguments._arrays) == kept


def test_values_that_are_not_a_row_for_each_index_are_refused() -> None:
    arguments = RowArguments([(9, 4)], 0)
    indices, values = torch.tensor([[3, 1, 3]]), torch.zeros(2, 4)
    assert arguments.look([indices], [values], FLOAT)
    assert arguments.gather(4) == 0
