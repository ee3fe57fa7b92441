"""The loops over rows: what LLVM makes of them, and how indices are sorted."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cfunc

from adamantine.backends.cpu import kernel, rows
from adamantine.rules import Rule, adagrad, adam, sgd

RULES = [
    adam.AMSGRAD,
    sgd.MOMENTUM_SGD,
    *(pytest.param(rule, marks=pytest.mark.slow) for rule in (adam.ADAM, sgd.SGD, adagrad.ADAGRAD)),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_operation_on_elements_is_vectorised_float32(rule: Rule) -> None:
    loop = rows.specialised(rows._run_piece, rule, torch.float32)
    llvm = cfunc(kernel.SIGNATURE, **kernel.OPTIONS)(loop).inspect_llvm()
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"store <\d+ x float>", llvm)
    for operation in set(re.findall(r"= (f\w+) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation
    assert not re.search(r"= f(?:add|sub|mul|div) \S* ?(?:double|<\d+ x double>)", llvm)
    assert not re.search(r"\b(fast|nnan|ninf|arcp|reassoc|afn)\b", llvm.split("!llvm")[0])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40) | st.integers(0, 3), max_size=50))
def test_sorting_is_stable_and_finds_each_row_once(drawn: list[int]) -> None:
    indices = np.array(drawn, np.int64)
    order = np.arange(len(drawn), dtype=np.int32)
    begins = np.arange(len(drawn) + 1, dtype=np.int32)
    numbers = np.empty_like(indices)
    count = rows._sort(indices, 2**40 + 1, order, numbers, begins)
    assert order.tolist() == np.argsort(indices, kind="stable").tolist()
    assert numbers[:count].tolist() == sorted(set(drawn))
    for row, begin, end in zip(numbers, begins, begins[1 : count + 1], strict=False):
        assert (indices[order[begin:end]] == row).all()
    assert begins[count] == len(drawn)
