"""``docs/benchmarks.md``, the README's table and those of other pages, from saved records.

    python -m benchmarks --pages

Benchmarks without samples are named at the end of the page. A test fails when a page is not what
this would write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from adamantine.train.files import write_text
from benchmarks import headline, markdown
from benchmarks.measure import BenchmarkError
from benchmarks.records import Record, load
from benchmarks.studies import blocks
from benchmarks.studies.catalogue import STUDIES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- python -m benchmarks --pages -->", "<!-- end -->"


class Section(NamedTuple):
    """A benchmark's heading, and what to know before reading its tables."""

    title: str
    note: str


SECTIONS = {
    "step": Section(
        "One optimizer step",
        "A turn is 50 steps in a row, one on the large tensor. *Caches cold*: a turn is a single "
        "step, so that each optimizer finds the others' data in the cache instead of its own.",
    ),
    "small": Section(
        "Steps that are mostly overhead",
        "Small models, and parameters that lie elsewhere in every step. *Tenth* is the time that "
        "a tenth of the steps stay below.",
    ),
    "lists": Section(
        "Where there are no kernels",
        "Other devices, gaps between elements, lazy views: there, one call of torch's does an "
        "operation on a whole list of tensors, or, in the reference, on a single one. Measured on "
        "the CPU, with kernels turned off; an accelerator is not measured.",
    ),
    "rivals": Section(
        "Adam's rivals",
        "Optimizers that torch has not, or not fast, against the packages that have them. "
        "Formulas and defaults: [optimizers](optimizers.md).",
    ),
    "matrices": Section(
        "Muon",
        "All matrices of one shape are made orthogonal together; torch takes them one after the "
        "other. NorMuon's rows and an iteration in float32 are beside it.",
    ),
    "gpu_host": Section(
        "What a GPU's step costs the host",
        "No GPU is needed: nothing is launched, and everything else is done. torch's step is on "
        "the CPU device, with its arithmetic.",
    ),
    "gpu": Section(
        "On a GPU",
        "The device's own time, by events. A copy of as many bytes is what memory can do.",
    ),
    "precision": Section(
        "Fewer bytes",
        "*Tables* are the addresses and lengths that kernels read, beside the state itself. Speed "
        "is relative to torch's fused float32: above 1 is faster. 8-bit states wait for the "
        "processor rather than for memory, so their place depends on how fast memory is at the "
        "time. *Bars* are the goals that were set before measuring. How it works: "
        "[states and parameters in fewer bits](precision.md).",
    ),
    "accuracy": Section(
        "What fewer bits cost in accuracy",
        "The same trainings with states of each precision, on equal seeds.",
    ),
    "rounding": Section(
        "Parameters in bfloat16",
        "At a small learning rate an update is less than half of bfloat16's last digit, and "
        "rounding to nearest loses it. `param_rounding` keeps it.",
    ),
    "bandwidth": Section(
        "Every optimizer against the machine's memory",
        "The last column divides a step's time by the time that the machine takes to move as many "
        "bytes in a plain loop. Formulas and defaults: [optimizers](optimizers.md).",
    ),
    "sparse": Section(
        "One large embedding",
        "`lazy` does what `torch.optim.SparseAdam` does. `exact` also makes up for the steps that "
        "a row sat out. See [sparse gradients](sparse.md).",
    ),
    "tables": Section(
        "Many small embeddings",
        "As a recommender has them. In each cell: our median, torch's median, and torch's divided "
        "by ours with its 95 % interval.",
    ),
    "scale": Section(
        "Sharded parameters",
        "A step of DTensors, as FSDP2 makes them, on two processes that share the machine. See "
        "[sharded models](scale.md).",
    ),
    "offload": Section(
        "States in main memory",
        "A second piece of main memory stands for the accelerator: copies to it are timed, an "
        "accelerator's own way is not. Bytes are states, copies of parameters and buffers for "
        "gradients. [How it works](offload.md).",
    ),
    "extras": Section(
        "What is off by default",
        "[Statistics](stats.md), [unscaling](step_options.md#mixed-precision) and "
        "[steps inside of backward()](in_backward.md), each beside the same program without it; "
        "and how long all rows of a table take to [catch up](sparse.md#what-it-costs).",
    ),
    "program": Section(
        "A whole program",
        "MNIST from the start of the process to its end, imports and reading of data included. "
        "`the tutorial's` is the usual program with `torchvision`'s way to read data.",
    ),
    "startup": Section(
        "From start to first step",
        "Kernels are compiled once for an installation and kept on disk.",
    ),
    "formats": Section(
        "Which grid 8-bit states lie on",
        "Why 8-bit states are E4M3 and E5M3: see [precision grids](precision_grids.md), which "
        "explains each column.",
    ),
}

INTRODUCTION = """\
# Benchmarks

<!-- Written by `python -m benchmarks --pages` from benchmarks/results. Do not edit. -->

All tables come from saved samples (`benchmarks/results/*.json`), and this page is written from
them. To measure again:

```sh
make bench ARGS="--data-dir DIR"                        # all but the two experiments
python -m benchmarks accuracy rounding --data-dir DIR   # the experiments: half an hour
python -m benchmarks --pages                            # only this page, from what is saved
```

## How it is measured

- **In turns.** Contenders run in one process, one after another in changing order, so that a slow
  minute of the machine hits all of them.
- **Honest gradients.** Every step has new gradients at new addresses, as `zero_grad()` and
  `backward()` leave them. Making them is not timed.
- **Figures.** Medians. Quartiles show the spread of single steps; "95 %" is the interval of the
  ratio, from a bootstrap over blocks of rounds. An interval that includes 1 means: no difference
  shown.
- **Noise.** The last column below says how many cores other programs kept busy meanwhile. Compare
  ratios between tables rather than times: the machine's memory is faster at some times than at
  others.
"""


def write(modules: Mapping[str, ModuleType], folder: Path) -> list[Path]:
    """Write all pages, and say which files changed."""
    records = saved(modules, folder)
    pages = {PAGE: page(modules, records), README: readme(records)}
    pages |= with_blocks({**records, **saved(STUDIES, folder / "studies")})
    changed = [path for path, text in pages.items() if _read(path) != text]
    for path in changed:
        write_text(path, pages[path])
    return changed


def saved(modules: Iterable[str], folder: Path) -> dict[str, Record]:
    """The samples that are there, by benchmark."""
    return {name: load(name, folder) for name in modules if (folder / f"{name}.json").exists()}


def with_blocks(records: Mapping[str, Record]) -> dict[Path, str]:
    """The pages that quote studies, with their tables made anew."""
    return {
        path: blocks.written(_read(path), records, path.name) for path in blocks.pages(PAGE.parent)
    }


def page(modules: Mapping[str, ModuleType], records: Mapping[str, Record]) -> str:
    """All of ``docs/benchmarks.md``."""
    parts = [INTRODUCTION.rstrip(), *_origins(records)]
    for name, (title, note) in SECTIONS.items():
        if name in records:
            parts += [f"## {title}", note, modules[name].to_markdown(records[name])]
    missing = [f"`python -m benchmarks {name}`" for name in modules if name not in records]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def readme(records: Mapping[str, Record]) -> str:
    """The README with its table, and the machine, made anew."""
    text = _read(README)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise BenchmarkError(
            f"{README}: no table to write; expected it between {BEGIN!r} and {END!r}"
        )
    machines = dict.fromkeys(map(_computer, records.values()))
    measured = f"Measured on {', and on '.join(machines)}."
    return f"{before}{begin}\n\n{headline.table(records)}\n\n{measured}\n\n{end}{after}"


def _origins(records: Mapping[str, Record]) -> Iterator[str]:
    """Machine and versions once for all that share them, then one row a benchmark."""
    by_machine: dict[str, list[str]] = {}
    for name, found in records.items():
        by_machine.setdefault(_where(found), []).append(name)
    for where, names in by_machine.items():
        yield where if len(by_machine) == 1 else f"{', '.join(f'`{n}`' for n in names)}: {where}"
    header = ("benchmark", "command", "date", "cores busy with other work")
    rows = [
        [_link(name), f"`{found['command']}`", found["date"], _busy(found)]
        for name, found in records.items()
    ]
    yield markdown.table(header, rows, names=3)


def _link(name: str) -> str:
    title = SECTIONS[name].title
    return f"[{title}](#{title.lower().replace(' ', '-').replace(chr(39), '')})"


def _busy(found: Record) -> str:
    cores = found["cores_busy_with_other_work"]
    return "unknown" if cores is None else f"{cores:.2f}"


def _where(found: Record) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{_computer(found)}; {packages}."


def _computer(found: Record) -> str:
    computer = found["machine"]
    return f"{computer['processor']}, {computer['cores']} cores, {computer['system']}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
