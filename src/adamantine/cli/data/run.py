"""What ``adamantine data`` does."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from adamantine.errors import DataError, UsageError
from adamantine.workloads import FileCheck, fetch_mnist, verify_mnist
from adamantine.workloads.mnist.files import cache_folder, find_mnist


def run_data(name: str, data_dir: Path | None, *, as_json: bool) -> None:
    """Fetch what is missing of a data set and verify all of it."""
    if name != "mnist":
        raise UsageError(f"data set is {name!r}, expected mnist (digits needs no download)")
    checks = _mnist(data_dir)
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.path} ({check.bytes:,} bytes)")
    problems = [check.problem for check in checks if not check.ok]
    if problems:
        raise DataError("; ".join(problems))


def _mnist(data_dir: Path | None) -> list[FileCheck]:
    found = find_mnist() if data_dir is None else None
    if found is not None and found.root != cache_folder():
        return verify_mnist()  # in $ADAMANTINE_DATA, where training reads it
    return fetch_mnist(data_dir, progress=sys.stderr.isatty())
