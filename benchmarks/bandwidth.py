"""Every optimizer's step on one large tensor, against what the machine's memory can do.

A step has to read the parameter, its gradient and its states, and to write the parameter and the
states: that many bytes, at the rate of the machine's memory, are the least that it can take. We
hold ourselves to 1.25 times that.

The rate is that of the faster of two in the same rounds: ``torch.Tensor.add_``, which is not ours
but loses more than a kernel of ours when another program takes a core, and a rule that does next to
nothing with Adam's tensors.

Optimizers are found by themselves: all that the package exports, at their defaults, and again
with ``cautious=True`` where they have it, which reads some of the tensors twice. 64 Mi parameters
with Adan's four states need 2 GB of memory.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter_ns
from typing import Any

import torch

from adamantine import optim
from adamantine.optim import RuleOptimizer
from adamantine.optim.matrices import MatrixOptimizer
from adamantine.rules import Family, Rule
from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection, quartiles
from benchmarks.records import Options, Record
from benchmarks.step import THREADS, WARM_UP

ELEMENTS, QUICK_ELEMENTS = 64 * 2**20, 2**20
ROW = 1024
ROUNDS, QUICK_ROUNDS = 15, 6
BAR = 1.25
FLOAT_BYTES = 4
ADD_BYTES = 3 * FLOAT_BYTES


def sweep(param, grad, exp_avg, exp_avg_sq, keep, mix):
    return keep * param + mix * grad, keep * exp_avg + mix * grad, keep * exp_avg_sq + mix * grad


SWEEP = Rule(sweep, ("exp_avg", "exp_avg_sq"))


class Sweep(RuleOptimizer):
    """Reads and writes what Adam does, and leaves all as it was."""

    family = Family(
        name="sweep",
        paper="none",
        hyperparameters=(),
        select=lambda _: SWEEP,
        scalars=lambda _settings, _step: {"keep": 1.0, "mix": 0.0},
    )

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": 0.0}, "auto", {})


def run(options: Options) -> Record:
    """Time a step of every optimizer, each in turn with two measures of memory."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    elements = QUICK_ELEMENTS if options.quick else ELEMENTS
    rounds = options.rounds_or(ROUNDS, QUICK_ROUNDS)
    cases = [_measure(*each, elements, rounds) for each in optimizers()]
    return {"threads": threads, "elements": elements, "cases": cases}


def optimizers() -> Iterator[tuple[str, type[RuleOptimizer], Mapping[str, Any]]]:
    """Name as in the table, class and settings of all that the package exports."""
    for name in optim.__all__:
        found = getattr(optim, name)
        if not isinstance(found, type) or not issubclass(found, RuleOptimizer):
            continue
        if issubclass(found, MatrixOptimizer):
            continue  # products of matrices take its time, not memory
        if found is not RuleOptimizer and found.takes_dense:
            yield f"{name}()", found, {}
            if "cautious" in inspect.signature(found).parameters:
                yield f"{name}(cautious=True)", found, {"cautious": True}


def bytes_per_parameter(optimizer: RuleOptimizer) -> int:
    """What a step has to read and to write for each parameter of the first group."""
    (group,) = optimizer.param_groups
    rule = optimizer.family.rule_of(group, group["params"][0].shape)
    large = [name for name in rule.tensors if name not in rule.shapes]
    summed = [name for name in rule.sums.arguments if name in large] if rule.sums else []
    read = len(large) + len(summed) + bool(rule.factors)  # all factors, of gradients
    return FLOAT_BYTES * (read + len(large) - 1)


def _measure(
    name: str,
    optimizer_class: type[RuleOptimizer],
    settings: Mapping[str, Any],
    elements: int,
    rounds: int,
) -> Record:
    print(f"bandwidth: {name}", file=sys.stderr)
    # Of one dimension it would be a vector to those that treat matrices otherwise.
    param = torch.ones(elements).view(-1, ROW).requires_grad_()
    param.grad = torch.randn(param.shape, generator=torch.Generator().manual_seed(0))
    optimizer: Any = optimizer_class([param], **settings)
    total = torch.ones_like(param, requires_grad=True)
    total.grad = param.grad
    sweeper = Sweep([total])
    contenders = {
        "step": _timed(optimizer.step),
        "add": _timed(lambda: total.detach().add_(param.grad)),
        "sweep": _timed(sweeper.step),
    }
    with no_garbage_collection():
        interleave(contenders, WARM_UP)
        samples = interleave(contenders, rounds)
    return {
        "optimizer": name,
        "bytes": bytes_per_parameter(optimizer),
        "yardsticks": {"add": ADD_BYTES, "sweep": bytes_per_parameter(sweeper)},
        "nanoseconds": samples,
    }


def _timed(work: Callable[[], Any]) -> Callable[[], int]:
    def turn() -> int:
        start = perf_counter_ns()
        work()
        return perf_counter_ns() - start

    return turn


def to_markdown(found: Record) -> str:
    """One row an optimizer."""
    title = f"one tensor of {found['elements'] // 2**20} Mi; threads: {found['threads']}"
    header = (
        "optimizer", "bytes/parameter", "one step", "ns/parameter", "memory, GB/s",
        f"× the time of its bytes (95 %); bar: {BAR}",
    )  # fmt: skip
    rows = [_row(case, found["elements"]) for case in found["cases"]]
    return f"**Steps against memory, {title}**\n\n{markdown.table(header, rows)}"


def _row(case: Record, elements: int) -> list[str]:
    seconds = {who: [ns * 1e-9 for ns in all_] for who, all_ in case["nanoseconds"].items()}
    step = seconds["step"]
    by_byte = [[s / size for s in seconds[who]] for who, size in case["yardsticks"].items()]
    fastest = min(by_byte, key=lambda samples: quartiles(samples)[1])
    return [
        f"`{case['optimizer']}`",
        str(case["bytes"]),
        markdown.median(step),
        markdown.number(quartiles(step)[1] / elements * 1e9),
        markdown.number(elements / quartiles(fastest)[1] * 1e-9),
        markdown.ratio(step, [case["bytes"] * s for s in fastest]),
    ]
