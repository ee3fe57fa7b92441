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

import adamantine
from sharded import checkpoint_checks, checks, option_checks, place_checks
from sharded.cases import assert_same, network
from sharded.ranks import rank

NAMES = [
    f"{module.__name__.rpartition('.')[2]}.{name}"
    for module in (checks, option_checks, place_checks, checkpoint_checks)
    for name, found in inspect.getmembers(module, inspect.isfunction)
    if found.__module__ == module.__name__
    and [*inspect.signature(found).parameters][:1] == ["mesh"]
]
FILES = "checkpoint_checks.files_are_saved_and_loaded"
Problems = dict[str, list[str]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def problems(processes: int, folder: Path, names: list[str] = NAMES) -> Problems:
    """What went wrong in each check, on each process."""
    port = free_port()
    with suppress(torch.multiprocessing.ProcessRaisedException):
        torch.multiprocessing.spawn(rank, (processes, port, names, folder), nprocs=processes)
    told = [json.loads((folder / f"{n}.json").read_text()) for n in range(processes)]
    return {name: [each.get(name, "never begun") for each in told] for name in names}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Problems, Path]:
    folder = tmp_path_factory.mktemp("two")
    checkpoint_checks.save_all(network, folder, 1)
    return problems(2, folder), folder


@pytest.mark.parametrize("name", NAMES)
def test_on_two_processes(of_two: Any, name: str) -> None:
    assert not any(of_two[0][name]), "\n".join(of_two[0][name])


def test_files_of_two_processes_are_loaded_by_one(of_two: Any) -> None:
    assert not any(of_two[0][FILES])
    for cls in (adamantine.AdamW, torch.optim.AdamW):
        checkpoint_checks.load_all(network, of_two[1], cls)


@pytest.fixture(scope="module")
def of_four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Problems, Path]:
    folder = tmp_path_factory.mktemp("four")
    return problems(4, folder), folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_on_four_processes(of_four: Any, name: str) -> None:
    assert not any(of_four[0][name]), "\n".join(of_four[0][name])


@pytest.mark.slow
def test_files_of_four_processes_are_loaded_by_fewer(of_four: Any) -> None:
    for processes in (3, 2):
        found = problems(processes, of_four[1], [FILES])
        assert not any(found[FILES]), "\n".join(found[FILES])
    checkpoint_checks.load_all(network, of_four[1])


@pytest.mark.slow
def test_a_process_killed_while_it_saves_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(torch.multiprocessing.ProcessExitedException, match="SIGKILL"):
        torch.multiprocessing.spawn(
            checkpoint_checks.train_until_killed, (free_port(), tmp_path), nprocs=2
        )
    net = network()
    optimizer = adamantine.AdamW(net.parameters(), state_dtype="int8")
    with pytest.raises((FileNotFoundError, torch.distributed.checkpoint.CheckpointException)):
        checkpoint_checks.load(net, optimizer, tmp_path / "second")
    checkpoint_checks.load(net, optimizer, tmp_path / "first")
    expected = network()
    checkpoint_checks.trained(expected, state_dtype="int8")
    assert_same(list(net.parameters()), list(expected.parameters()), 1e-5, 5e-3)
