"""What LLVM makes of a rule, and whether it is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from numba import cfunc
from numba.core import config, event
from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher as Dispatcher

from adamantine.backends.cpu.compiling import decorators
from adamantine.backends.cpu.compiling.elements import ELEMENTS
from adamantine.backends.cpu.kernel import kernel
from adamantine.backends.cpu.probe import compiled_probe, identity
from adamantine.backends.cpu.rows import kernels, row_probe
from adamantine.backends.cpu.table import norms
from adamantine.backends.cpu.threads import pieces, pool, team
from adamantine.backends.formats import CODES, Format
from adamantine.rules import Rule, adam
from adamantine.rules.master import mastered
from cases import RULES


def slow(value: object) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


every_rule = pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=[pytest.mark.slow] if rule.sums else [], id=rule.name)
        for rule, _ in RULES
    ],
)
"""Slow are the cautious forms, which are others times a factor."""


def compiled(function: FunctionType, options: dict[str, Any] = kernel.OPTIONS) -> tuple[str, str]:
    """LLVM's code and the machine's; compiled here, as code from the disk cache has neither."""
    fresh = cfunc(kernel.SIGNATURE, **options)(function)
    return fresh.inspect_llvm(), fresh._library.get_asm_str()


def update_of(rule: Rule, dtype: torch.dtype = torch.float32) -> tuple[str, str]:
    formats = (Format(dtype),) * (1 + len(rule.states))
    return compiled(kernel.updating(rule, formats, rule.name))


CODED = (Format(torch.float32), Format(CODES), Format(CODES, signed=False))
HALVES = (Format(torch.bfloat16, stochastic=True),) * 3


@pytest.mark.parametrize("formats", [CODED, HALVES], ids=["int8", "bfloat16"])
def test_rounding_is_vectorised_too(formats: tuple[Format, ...]) -> None:
    llvm, _ = compiled(kernel.updating(adam.ADAM, formats, "x"))
    kept = "i8" if formats is CODED else "i16"
    assert re.search(rf"load <\d+ x {kept}>", llvm)
    assert re.search(rf"store <\d+ x {kept}>", llvm)
    # Lanes of 32 bits throughout: integers that grew would halve the speed.
    assert not re.search(r"= (?:add|mul|lshr|shl|xor|or) <\d+ x i64> ", vector_loops(llvm))
    for operation in set(re.findall(r"= (f\w+) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation


def vector_loops(llvm: str) -> str:
    """What stands in the bodies of vectorised loops."""
    blocks = re.split(r"\n(?=\S+:)", llvm)
    return "".join(b for b in blocks if re.match(r"vector\.body", b) and "x float" in b)


@every_rule
def test_the_loop_is_vectorised_float32_and_keeps_nan(rule: Rule) -> None:
    llvm, assembly = update_of(rule)
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"store <\d+ x float>", llvm)
    # No scalar arithmetic but in the remainder: every operation has its vector form too.
    for operation in set(re.findall(r"= (f\w+) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation
    assert re.search(r"[xyz]mm\d|\bv\d+\.4s|\bz\d+\.s", assembly)
    arithmetic = re.findall(r"= (f(?:add|sub|mul|div)|call \S* \S+ @llvm.sqrt\S*) ([^%]*)", llvm)
    assert arithmetic
    assert not [line for line in arithmetic if "double" in " ".join(line)]
    assert not re.search(r"\b(fast|nnan|ninf|arcp|reassoc|afn)\b", llvm.split("!llvm")[0])


@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, *(slow(dtype) for dtype in (torch.float64, torch.float16))],
    ids=str,
)
def test_other_dtypes_are_vectorised_too(dtype: torch.dtype) -> None:
    llvm, _ = update_of(adam.ADAM, dtype)
    kept = {torch.float64: "double", torch.bfloat16: "i16", torch.float16: "half"}[dtype]
    computed = "double" if dtype == torch.float64 else "float"
    assert re.search(rf"load <\d+ x {kept}>", llvm)
    assert re.search(rf"store <\d+ x {kept}>", llvm)
    for operation in set(re.findall(rf"= (f\w+) contract {computed}", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x {computed}>", llvm), operation


@pytest.mark.parametrize(
    ("rule", "formats"),
    [
        pytest.param(adam.ADAM, (Format(torch.float32),) * 3, id="float32"),
        pytest.param(adam.ADAM, CODED, id="int8"),
        *(
            pytest.param(rule, formats, id=name, marks=pytest.mark.slow)
            for name, rule, formats in (
                ("float64", adam.ADAM, (Format(torch.float64),) * 3),
                ("float16", adam.ADAM, (Format(torch.float16),) * 3),
                ("bfloat16", adam.ADAM, HALVES),
                (
                    "master",
                    mastered(adam.ADAM, "float32", "bfloat16"),
                    (Format(torch.bfloat16), *[Format(torch.float32)] * 3),
                ),
            )
        ),
    ],
)
def test_what_a_step_tells_of_itself_is_vectorised_with_it(
    rule: Rule, formats: tuple[Format, ...]
) -> None:
    """A count of references in the loop, which slices leave, would be enough to prevent it."""
    llvm, _ = compiled(kernel.updating(rule, formats, "x", collect_stats=True))
    computed = "double" if formats[0].dtype == torch.float64 else "float"
    for operation in {"fadd reassoc", *re.findall(rf"= (f\w+) contract {computed}", llvm)}:
        assert re.search(rf"= {operation} contract <\d+ x {computed}>", llvm), operation


SUMS = {rule.sums.of: rule for rule, _ in RULES if rule.sums}.values()


@pytest.mark.parametrize(
    "rule",
    [rule if n == 0 else slow(rule) for n, rule in enumerate(SUMS)],
    ids=lambda rule: rule.sums.of.__name__,
)
def test_sums_are_vectorised(rule: Rule) -> None:
    tensors = sum(name in rule.tensors for name in rule.sums.arguments)
    formats = (Format(torch.float32),) * tensors
    llvm, _ = compiled(kernel.summing(rule.sums, formats, rule.name))
    assert re.search(r"load <\d+ x float>", llvm)
    assert re.search(r"fadd reassoc contract <\d+ x double>", llvm)
    # What is added up is computed as in the update.
    for operation in set(re.findall(r"= (f(?:sub|mul|div)) contract float", llvm)):
        assert re.search(rf"= {operation} contract <\d+ x float>", llvm), operation
    assert not re.search(r"= f(?:add|sub|mul|div) reassoc contract (?:float|<\d+ x float>)", llvm)
    # An infinity and a NaN must reach the sum.
    assert not re.search(r"\b(fast|nnan|ninf)\b", llvm.split("!llvm")[0])


@pytest.mark.parametrize(
    "dtype",
    [dtype if dtype == torch.float32 else slow(dtype) for dtype in ELEMENTS],
    ids=str,
)
def test_summing_squares_is_vectorised_in_float64(dtype: torch.dtype) -> None:
    llvm, _ = compiled(norms.summing(dtype, "squares"), norms.REASSOCIATING)
    assert re.search(r"fadd reassoc contract <\d+ x double>", llvm)
    assert not re.search(r"= f(?:add|sub|mul|div) [a-z ]*(?:float|<\d+ x float>)", llvm)
    # An infinity and a NaN must reach the sum.
    assert not re.search(r"\b(fast|nnan|ninf)\b", llvm.split("!llvm")[0])


def test_gradients_are_cleared_a_chunk_at_a_time() -> None:
    formats = (Format(torch.float32),) * 3
    plain, clearing = (
        compiled(kernel.updating(adam.ADAM, formats, "adam", zero_grads))[0]
        for zero_grads in (False, True)
    )
    fill = re.compile(r"call void @llvm\.memset|store <\d+ x float> zeroinitializer")
    assert not fill.search(plain)
    assert fill.search(clearing)


def test_the_digest_covers_the_rule_and_what_it_calls() -> None:
    original = kernel.digest(adam.ADAM.states, adam.adam)
    assert kernel.digest(adam.ADAM.states, adam.adam) == original

    changed = FunctionType(adam.adam.__code__, dict(adam.adam.__globals__), "adam")
    changed.__globals__["descend"] = lambda param, *_: param
    assert kernel.digest(adam.ADAM.states, changed) != original
    assert kernel.digest(adam.ADAM.states, adam.amsgrad) != original
    assert kernel.digest(adam.AMSGRAD.states, adam.adam) != original


def begin(cache: Path) -> tuple[int, int]:
    """A process that needs a kernel, as this one would without its memory; and what it tells."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            config.CACHE_DIR = str(cache)
            with event.install_recorder("numba:run_pass") as compilations:
                kernel.compiled.__wrapped__(adam.ADAM, (Format(torch.float32),) * 3)
            names = {event.data["qualname"] for _, event in compilations.buffer}
            os.write(writer, json.dumps(sorted(names)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


def told(process: tuple[int, int]) -> list[str]:
    child, reader = process
    with os.fdopen(reader) as pipe:
        names = json.loads(pipe.read())
    os.waitpid(child, 0)
    return [name for name in names if name.startswith("adam_float32_")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, where another test has had it
def test_of_two_that_begin_at_once_one_compiles_and_a_third_does_not(tmp_path: Path) -> None:
    kernels = [told(process) for process in [begin(tmp_path), begin(tmp_path)]]
    assert sorted(map(len, kernels)) == [0, 1]
    assert told(begin(tmp_path)) == []


SCRIPT = """
import json, torch, adamantine
from adamantine.backends.cpu.kernel import kernel
from adamantine.backends.cpu.table import norms
from adamantine.backends.cpu.compiling.elements import ELEMENTS
from adamantine.rules import adam
param = torch.nn.Parameter(torch.ones(100))
param.grad = torch.ones(100)
from numba.core import event
with event.install_recorder("numba:run_pass") as compilations:
    adamantine.Adam([param]).step()
names = {event.data["qualname"] for _, event in compilations.buffer}
print(json.dumps(dict(compiled=sorted(names), value=float(param.detach()[0]))))
"""


def start(cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_that_begin_at_once_compile_once_and_a_third_nothing(tmp_path: Path) -> None:
    told = [process.communicate()[0] for process in [start(tmp_path), start(tmp_path)]]
    runs = [json.loads(line) for line in [*told, start(tmp_path).communicate()[0]]]
    kernels = [[n for n in run["compiled"] if n.startswith("adam_float32_")] for run in runs]
    assert sorted(map(len, kernels[:2])) == [0, 1]
    assert runs[2]["compiled"] == []
    assert [run["value"] for run in runs] == [runs[0]["value"]] * 3
    assert runs[0]["value"] == pytest.approx(0.999)


def test_the_names_of_what_is_kept_on_disk_say_what_it_was_made_of() -> None:
    """Its constants come from other files, whose age Numba does not look at."""
    found = {
        function.py_func.__name__
        for module in (identity, compiled_probe, kernels, row_probe, pieces, pool, team)
        for function in vars(module).values()
        if isinstance(function, Dispatcher) and not isinstance(function._cache, NullCache)
    }
    assert len(found) >= 10
    assert all(name.endswith(decorators.sources()) for name in found)
    assert compiled_probe.advance().__name__.endswith(decorators.sources())
