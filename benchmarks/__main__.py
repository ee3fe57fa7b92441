"""``python -m benchmarks``: measure, keep the samples, print tables as Markdown.

Benchmarks take minutes, and all of them run if none is named. Experiments and studies train for
longer and run only by name; most go on where they were stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from adamantine.errors import AdamantineError
from adamantine.train.files import write_atomically
from benchmarks.measure import MissingError
from benchmarks.other_work import NOTICEABLE, OtherWork
from benchmarks.records import Options, Record, load, origin, record, save

try:
    from benchmarks.studies.catalogue import STUDIES, WITHOUT_MNIST
except ModuleNotFoundError:  # a machine with a GPU may have torch alone
    STUDIES, WITHOUT_MNIST = {}, ()

BENCHMARKS = (
    "step",
    "small",
    "lists",
    "rivals",
    "matrices",
    "gpu_host",
    "gpu",
    "bandwidth",
    "precision",
    "sparse",
    "tables",
    "scale",
    "offload",
    "extras",
    "program",
    "startup",
    "formats",
)
EXPERIMENTS = ("accuracy", "rounding")
ALL = (*BENCHMARKS, *EXPERIMENTS)
RESULTS = Path(__file__).with_name("results")
ON_MNIST = ("program", "formats", "accuracy", "rounding", *sorted({*STUDIES} - {*WITHOUT_MNIST}))
PICTURES = Path(__file__).parents[1] / "docs" / "images"
JOURNALS = Path("runs") / "benchmarks"


def main() -> int:
    arguments = _parse()
    if arguments.pages:
        return _write_pages()
    out = arguments.out or (None if arguments.quick else RESULTS)
    options = Options(
        quick=arguments.quick,
        rounds=arguments.rounds,
        data_dir=arguments.data_dir,
        jobs=arguments.jobs,
        journals=out and (arguments.out or JOURNALS),
    )
    for name in arguments.names or (ALL if arguments.saved else BENCHMARKS):
        benchmark = module_of(name)
        print(f"### {name}\n", flush=True)
        try:
            if arguments.saved:
                found = load(name, _folder(name, arguments.out or RESULTS))
            else:
                found = _measure(name, options)
                if out is not None:
                    save(found, _folder(name, out))
            if out is not None:
                _draw(benchmark, found, name, arguments.out or PICTURES)
        except MissingError as reason:
            print(f"Skipped: {reason}\n", flush=True)
            continue
        except AdamantineError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
        print(f"{benchmark.to_markdown(found)}\n\n{origin(found)}\n", flush=True)
    return _write_pages() if out == RESULTS and not arguments.saved else 0


def module_of(name: str) -> Any:
    """A benchmark, experiment or study; each is imported by itself, as its packages may be missing.

    On a machine with a GPU, `gpu` needs nothing but torch.
    """
    return import_module(f"benchmarks.{name}") if name in ALL else STUDIES[name]


def all_modules() -> dict[str, Any]:
    """All but the studies, by name."""
    return {name: module_of(name) for name in ALL}


def _write_pages() -> int:
    from benchmarks import pages

    try:
        changed = pages.write(all_modules(), RESULTS)
    except AdamantineError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    for path in changed:
        print(f"Written: {path.name}")
    return 0


def _folder(name: str, results: Path) -> Path:
    return results / "studies" if name in STUDIES else results


def _draw(benchmark: Any, found: Record, name: str, folder: Path) -> None:
    images = benchmark.images(found) if hasattr(benchmark, "images") else {}
    if hasattr(benchmark, "picture"):
        images = {f"{name}.png": benchmark.picture(found)}
    for file_name, image in images.items():
        write_atomically(folder / file_name, partial(_write, image))


def _write(image: bytes, file: IO[bytes]) -> None:
    file.write(image)


def _measure(name: str, options: Options) -> Record:
    other_work = OtherWork()
    findings = module_of(name).run(options)
    cores = other_work.cores()
    if name in BENCHMARKS and cores is not None and cores > NOTICEABLE:
        print(
            f"{name}: other programs kept {cores} cores busy meanwhile, which is harder on some "
            "than on others; measure again on an idle machine",
            file=sys.stderr,
        )
    return record(name, options, cores, findings)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which of {', '.join(BENCHMARKS)}, which "
        f"is all that run if none is named, or of {', '.join([*EXPERIMENTS, *STUDIES])}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="show that it runs; keeps no samples without --out"
    )
    parser.add_argument("--rounds", type=int, help="instead of each benchmark's own number")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"where MNIST lies ({', '.join(ON_MNIST)})"
    )
    parser.add_argument(
        "--jobs", type=int, help="trainings at a time; as many as cores if left out"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the samples go (benchmarks/results)"
    )
    parser.add_argument(
        "--saved", action="store_true", help="measure nothing, print the samples kept in --out"
    )
    parser.add_argument(
        "--pages",
        action="store_true",
        help="measure nothing, write docs/benchmarks.md and the tables of other pages from what is "
        "kept (as every measurement kept there does at its end)",
    )
    arguments = parser.parse_args()
    names = set(arguments.names or BENCHMARKS)
    known = [*ALL, *STUDIES]
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; choose from {', '.join(known)}")
    for option in ("rounds", "jobs"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            parser.error(f"--{option} is {value}, expected at least 1")
    if arguments.data_dir and not names.intersection(ON_MNIST):
        parser.error(f"--data-dir is for {_listed(ON_MNIST)}, which were not asked for")
    if arguments.jobs and not names.intersection([*EXPERIMENTS, *STUDIES]):
        parser.error(f"--jobs is for {_listed([*EXPERIMENTS, *STUDIES])}, which were not asked for")
    measures = arguments.quick or arguments.rounds or arguments.data_dir or arguments.jobs
    if arguments.pages and (measures or arguments.names or arguments.out or arguments.saved):
        parser.error("--pages writes all pages from benchmarks/results: leave out the rest")
    if arguments.saved and measures:
        parser.error("--saved measures nothing: leave out --quick, --rounds, --data-dir and --jobs")
    return arguments


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.exit(main())
