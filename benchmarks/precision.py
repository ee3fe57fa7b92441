"""States and parameters of few bits: bytes and time per parameter, ours and other packages' Adam.

One step of each in turn, in one process, with new gradients in every step; then clipping, step and
zeroing together; then the peak memory of a training in a process of its own. Needs 9 GB of memory.
Packages that are not installed are left out: ``pip install -e '.[benchmark]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from benchmarks import markdown
from benchmarks.measure import interleave, no_garbage_collection, quartiles, ratio_of_medians
from benchmarks.peers import Contender, Subject, in_bfloat16, of_optax, of_torch, subjects
from benchmarks.records import Options, Record
from benchmarks.runs import in_process
from benchmarks.step import QUICK_ROUNDS, THREADS, WARM_UP, Case
from benchmarks.training_run import Run

# Odd, so that no block of codes divides them; few, because torchao compiles for each anew.
ODD_SIZES = (939, 967, 1003, 1029, 1061)
SMALL = Case("300 odd tensors near 1,000", tuple((n,) for n in ODD_SIZES) * 60, 10, rounds=10)
MIDDLE = Case("one tensor of 16 Mi", ((16 * 2**20,),), steps=1, rounds=15)
LARGE = Case("one tensor of 64 Mi", ((64 * 2**20,),), steps=1, rounds=15)
QUICK_CASES = (
    Case("10 odd tensors near 1,000", tuple((n,) for n in ODD_SIZES) * 2, steps=2, rounds=1),
    Case("one tensor of 1 Mi", ((2**20,),), steps=1, rounds=1),
)

MAX_NORM = 1.0


def clip_step_zero(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
    """As a training loop has it."""
    torch.nn.utils.clip_grad_norm_(params, MAX_NORM, foreach=True)
    optimizer.step()
    optimizer.zero_grad()


FUSED = of_torch("torch.optim.Adam", fused=True)
OURS = {
    name: of_torch("adamantine.Adam", state_dtype=name) for name in ("float32", "bfloat16", "int8")
}
BITSANDBYTES = of_torch("bitsandbytes.optim.Adam8bit", min_8bit_size=1)
STEPS: tuple[Contender, ...] = (
    *OURS.values(),
    FUSED,
    of_torch("torch.optim.Adam"),
    BITSANDBYTES,
    # At its default it keeps tensors of less than 4,096 in float32, and so does torchao.
    of_torch("bitsandbytes.optim.Adam8bit", only_small=True),
    of_torch("torchao.optim.Adam8bit"),
    of_optax(),
    of_optax(mu_dtype="bfloat16"),
)

FULL = of_torch("adamantine.Adam")
MASTER_24 = in_bfloat16(of_torch("adamantine.Adam", master="24bit", state_dtype="int8"))
OF_16_BITS: tuple[Contender, ...] = (
    FULL,
    *(
        in_bfloat16(of_torch("adamantine.Adam", **settings))
        for settings in (
            {"state_dtype": "float32"},
            {"param_rounding": "kahan", "state_dtype": "float32"},
            {"master": "float32"},
            {"master": "24bit"},
            {"param_rounding": "stochastic", "state_dtype": "int8"},
        )
    ),
    MASTER_24,
)
"""How updates of 16-bit parameters keep digits, against float32."""

PEERS = ("bitsandbytes", "torchao", "jax", "optax")

AROUND = {"max_grad_norm": MAX_NORM, "zero_grad": True}
CLIPPED = of_torch(
    "torch.optim.Adam",
    clip_step_zero,
    "clip_grad_norm_(foreach=True), {}, zero_grad()",
    fused=True,
)
OURS_AROUND = {
    name: of_torch("adamantine.Adam", state_dtype=name, **AROUND)
    for name in ("float32", "bfloat16", "int8")
}

# A batch of one window, so that activations are small beside 200 million parameters.
WIDE = {"width": 2048, "layers": 4, "batch_size": 1, "steps": 2, "windows": 1}
WIDE_QUICK = {"width": 64, "layers": 1, "batch_size": 1, "steps": 1, "windows": 1}
MEMORY = ("parameters", "model_bytes", "optimizer_bytes", "peak_bytes")
SIX = 'adamantine.Adam(state_dtype="int8", param_rounding="stochastic"), bfloat16 parameters'
TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "torch.optim.Adam()": {"optimizer": "torch.optim.Adam", "settings": {}},
    'adamantine.Adam(state_dtype="float32")': {"settings": {"state_dtype": "float32"}},
    'adamantine.Adam(state_dtype="int8")': {"settings": {"state_dtype": "int8"}},
    SIX: {
        "settings": {"state_dtype": "int8", "param_rounding": "stochastic"},
        "param_dtype": "bfloat16",
    },
}


def run(options: Options) -> Record:
    """Time steps, time what surrounds them, and let trainings say what memory they took."""
    threads = 1 if options.quick else THREADS
    torch.set_num_threads(threads)
    cases = QUICK_CASES if options.quick else (SMALL, MIDDLE, LARGE)
    left_out: dict[str, str] = {}
    around = [*OURS_AROUND.values(), CLIPPED]
    return {
        "threads": threads,
        "steps": [_measure(case, STEPS, options, left_out) for case in cases],
        "around": [_measure(case, around, options, left_out) for case in (cases[0], cases[-1])],
        "of_16_bits": [_measure(case, OF_16_BITS, options, left_out) for case in cases],
        "trainings": [_train(name, options) for name in TRAININGS],
        "left_out": left_out,
        "peers": {name: version(name) for name in PEERS if find_spec(name)},
    }


def _measure(
    case: Case, contenders: Sequence[Contender], options: Options, left_out: dict[str, str]
) -> Record:
    print(f"precision: {case.name}", file=sys.stderr)
    random = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=random) for shape in case.shapes]
    fitting = [each for each in contenders if len(case.shapes) > 1 or not each.only_small]
    found, reasons = subjects(fitting, grads)
    left_out.update(reasons)
    turns = {label: _turn(subject, case.steps) for label, subject in found.items()}
    with no_garbage_collection():
        interleave(turns, WARM_UP)
        samples = interleave(turns, options.rounds_or(case.rounds, QUICK_ROUNDS))
    return {
        "case": case.name,
        "parameters": case.parameters,
        "contenders": {
            label: {
                "tensor_bytes": subject.held().tensors,
                "array_bytes": subject.held().arrays,
                "nanoseconds": list(chain(*samples[label])),
            }
            for label, subject in found.items()
        },
    }


def _turn(subject: Subject, steps: int) -> Callable[[], list[int]]:
    return lambda: [subject.turn() for _ in range(steps)]


def _train(name: str, options: Options) -> Record:
    print(f"precision: memory of {name}", file=sys.stderr)
    size = WIDE_QUICK if options.quick else WIDE
    given = Run("text", 0, config={"epochs": 1}, workload_settings=size, **TRAININGS[name])
    result = in_process(given)
    return {"name": name, **{key: result[key] for key in MEMORY}}


def to_markdown(found: Record) -> str:
    """The tables, and whether each bar is met."""
    threads = f"threads: {found['threads']}"
    left_out = [f"Left out: `{name}`: {why}." for name, why in found["left_out"].items()]
    return "\n\n".join(
        [
            f"**Adam, one step; {threads}**",
            _table(found["steps"], FUSED.label),
            *left_out,
            "Peers: " + ", ".join(f"{name} {number}" for name, number in found["peers"].items()),
            f"**Clip to a norm of {MAX_NORM:g}, step, zero; {threads}**",
            _table(found["around"], CLIPPED.label),
            *_of_16_bits(found, threads),
            f"**A training's peak memory beyond what it takes to start, a transformer of "
            f"{found['trainings'][0]['parameters'] / 1e6:.0f} million parameters**",
            _memory(found["trainings"]),
            "**Bars**",
            _bars(found),
        ]
    )


def _of_16_bits(found: Record, threads: str) -> list[str]:
    """Nothing where the record is older than these rows."""
    if "of_16_bits" not in found:
        return []
    title = f"**Parameters of 16 bits, one step; {threads}**"
    return [title, _table(found["of_16_bits"], FULL.label, "float32 parameters")]


def _table(cases: Sequence[Record], reference: str, called: str = "torch fused") -> str:
    header = (
        "case", "optimizer", "state, bytes/parameter", "tables", "median", "quartiles",
        "ns/parameter", f"speed (95 %), {called}: 1",
    )  # fmt: skip
    rows = [
        [
            case["case"],
            f"`{label}`",
            f"{of['tensor_bytes'] / case['parameters']:.3f}",
            f"{of['array_bytes'] / case['parameters']:.3f}",
            markdown.median(_seconds(of)),
            markdown.middle_half(_seconds(of)),
            markdown.number(quartiles(_seconds(of))[1] / case["parameters"] * 1e9),
            "1" if label == reference
            else markdown.ratio(_seconds(case["contenders"][reference]), _seconds(of)),
        ]
        for case in cases
        for label, of in case["contenders"].items()
    ]  # fmt: skip
    return markdown.table(header, rows, names=2)


def _seconds(of: Record) -> list[float]:
    return [ns * 1e-9 for ns in of["nanoseconds"]]


def _memory(trainings: Sequence[Record]) -> str:
    header = (
        "training", "parameters + gradients + state, bytes/parameter", "peak, bytes/parameter",
        "peak",
    )  # fmt: skip
    rows = [
        [
            f"`{each['name']}`",
            f"{_counted(each):.2f}",
            f"{each['peak_bytes'] / each['parameters']:.2f}",
            f"{each['peak_bytes'] / 2**20:,.0f} MiB",
        ]
        for each in trainings
        if each["peak_bytes"] is not None
    ]
    return markdown.table(header, rows)


def _counted(training: Record) -> float:
    size: float = training["model_bytes"] + training["optimizer_bytes"]
    return size / training["parameters"]


def _bars(found: Record) -> str:
    rows = [*_memory_bars(found["steps"], found["trainings"]), *_speed_bars(found)]
    for case in found.get("of_16_bits", ()):
        size = 2 + case["contenders"][MASTER_24.label]["tensor_bytes"] / case["parameters"]
        what = f"`{MASTER_24.label}`: bytes of parameter and state"
        rows.append([what, case["case"], "≤ 5.1", _judged(f"**{size:.3f}**", size <= 5.1)])
    return markdown.table(("what", "case", "bar", "found"), rows, names=2)


def _memory_bars(cases: Sequence[Record], trainings: Sequence[Record]) -> list[list[str]]:
    rows = []
    for precision, bar in (("bfloat16", 4.05), ("int8", 2.1)):
        label = OURS[precision].label
        for case in cases:
            size = case["contenders"][label]["tensor_bytes"] / case["parameters"]
            what = f"`{label}`: bytes of state a parameter"
            rows.append([what, case["case"], f"≤ {bar}", _judged(f"**{size:.3f}**", size <= bar)])
    for training in trainings:
        if training["name"] == SIX:
            size = _counted(training)
            what = f"`{SIX}`: bytes of parameter, gradient and state"
            rows.append([what, "transformer", "≤ 6.2", _judged(f"**{size:.3f}**", size <= 6.2)])
    return rows


def _speed_bars(found: Record) -> list[list[str]]:
    """Peer, ours, case, bar: how many times ours's time the peer's is."""
    steps, around = ({case["case"]: case for case in found[key]} for key in ("steps", "around"))
    asked = [
        (steps, FUSED, OURS["bfloat16"], LARGE, 1.2),
        (steps, FUSED, OURS["int8"], LARGE, 1.0),
        (steps, BITSANDBYTES, OURS["int8"], MIDDLE, 25),
        (steps, BITSANDBYTES, OURS["int8"], SMALL, 100),
        (around, CLIPPED, OURS_AROUND["float32"], LARGE, 1.2),
        (around, CLIPPED, OURS_AROUND["float32"], SMALL, 6),
    ]
    rows = []
    for cases, peer, ours, case, bar in asked:
        of = cases.get(case.name, {"contenders": {}})["contenders"]
        if peer.label in of and ours.label in of:
            theirs, mine = _seconds(of[peer.label]), _seconds(of[ours.label])
            met = ratio_of_medians(theirs, mine)[0] >= bar
            what = f"`{peer.label}` against `{ours.label}`: time"
            rows.append(
                [what, case.name, f"≥ {bar:g} ×", _judged(markdown.ratio(theirs, mine), met)]
            )
    return rows


def _judged(found: str, met: bool) -> str:
    return f"{found}, {'met' if met else 'missed'}"
