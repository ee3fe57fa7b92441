"""DTensors, as FSDP2 and tensor parallelism make them: real processes, over gloo."""

from __future__ import annotations

import inspect
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this build of torch has no gloo", allow_module_level=True)

from sharded import checks
from sharded.ranks import rank

NAMES = [
    name
    for name, found in inspect.getmembers(checks, inspect.isfunction)
    if found.__module__ == checks.__name__ and [*inspect.signature(found).parameters] == ["mesh"]
]


def problems(processes: int, folder: Path) -> dict[str, list[str]]:
    """What went wrong in each check, on each process."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with suppress(torch.multiprocessing.ProcessRaisedException):
        torch.multiprocessing.spawn(rank, (processes, port, NAMES, folder), nprocs=processes)
    told = [json.loads((folder / f"{n}.json").read_text()) for n in range(processes)]
    return {name: [each.get(name, "never begun") for each in told] for name in NAMES}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return problems(2, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", NAMES)
def test_on_two_processes(of_two: Any, name: str) -> None:
    assert not any(of_two[name]), "\n".join(of_two[name])


@pytest.fixture(scope="module")
def of_four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return problems(4, tmp_path_factory.mktemp("four"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_on_four_processes(of_four: Any, name: str) -> None:
    assert not any(of_four[name]), "\n".join(of_four[name])
