"""``python -m benchmarks``: measure, keep the samples, print the README's tables as Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from adamantine.errors import AdamantineError
from benchmarks import bandwidth, program, sparse, startup, step
from benchmarks.measure import MissingError
from benchmarks.other_work import NOTICEABLE, OtherWork
from benchmarks.records import Options, Record, load, origin, record, save

BENCHMARKS = {
    "step": step,
    "bandwidth": bandwidth,
    "sparse": sparse,
    "program": program,
    "startup": startup,
}
RESULTS = Path(__file__).with_name("results")


def main() -> int:
    arguments = _parse()
    options = Options(arguments.quick, arguments.rounds, arguments.data_dir)
    out = arguments.out or (None if arguments.quick else RESULTS)
    for name in arguments.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"### {name}\n", flush=True)
        try:
            if arguments.saved:
                found = load(name, arguments.out or RESULTS)
            else:
                found = _measure(name, options)
                if out is not None:
                    save(found, out)
        except MissingError as reason:
            print(f"Skipped: {reason}\n", flush=True)
            continue
        except AdamantineError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
        print(f"{benchmark.to_markdown(found)}\n\n{origin(found)}\n", flush=True)
    return 0


def _measure(name: str, options: Options) -> Record:
    other_work = OtherWork()
    findings = BENCHMARKS[name].run(options)
    cores = other_work.cores()
    if cores is not None and cores > NOTICEABLE:
        print(
            f"{name}: other programs kept {cores} cores busy meanwhile, which is harder on some "
            "than on others; measure again on an idle machine",
            file=sys.stderr,
        )
    return record(name, options, cores, findings)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)}; all if none"
    )
    parser.add_argument(
        "--quick", action="store_true", help="show that it runs; keeps no samples without --out"
    )
    parser.add_argument("--rounds", type=int, help="instead of each benchmark's own number")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where MNIST lies (program)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the samples go (benchmarks/results)"
    )
    parser.add_argument(
        "--saved", action="store_true", help="measure nothing, print the samples kept in --out"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}, expected at least 1")
    if arguments.data_dir and arguments.names and "program" not in arguments.names:
        parser.error("--data-dir is for the benchmark `program`, which was not asked for")
    if arguments.saved and (arguments.quick or arguments.rounds or arguments.data_dir):
        parser.error("--saved measures nothing: leave out --quick, --rounds and --data-dir")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
