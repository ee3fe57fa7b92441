import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from adamantine.errors import CheckpointError
from adamantine.train.files import remove_leftovers, write_atomically, write_text

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def only(path):
    """Whether there is nothing beside `path`, no temporary file above all."""
    return list(path.parent.iterdir()) == [path]


def test_replaces(old):
    write_text(old, "new 8×8")
    assert old.read_text(encoding="utf-8") == "new 8×8"
    assert only(old)


def test_a_writer_that_fails_half_way_leaves_the_old_file(old):
    def write(file):
        file.write(b"half")
        raise FULL

    with pytest.raises(CheckpointError, match=r"file\.txt: No space left on device; the one wri"):
        write_atomically(old, write)
    assert old.read_text() == "old"
    assert only(old)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_system_call_that_fails_leaves_the_old_file(old, monkeypatch, call):
    def fail(*arguments):
        raise FULL

    monkeypatch.setattr(
        *(("os.fsync", fail) if call == "fsync" else ("pathlib.Path.replace", fail))
    )
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_text(old, "new")
    assert old.read_text() == "old"
    assert only(old)


def test_the_interrupt_of_a_person_is_passed_on(old):
    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(old, write)
    assert old.read_text() == "old"
    assert only(old)


def test_bytes_are_on_the_disk_before_the_name_is(old, monkeypatch):
    calls = []
    fsync, replace = os.fsync, type(old).replace

    def sync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename(source, target):
        assert source.parent == target.parent
        calls.append("name")
        replace(source, target)

    monkeypatch.setattr("os.fsync", sync)
    monkeypatch.setattr("pathlib.Path.replace", rename)
    write_text(old, "new")
    assert calls == ["file", "name", "folder"]


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"nothing was written.*--out"):
        write_text(tmp_path / "file" / "run.json", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_torch_save_is_an_error_of_the_disk(tmp_path):
    def write(file):
        with Path("/dev/full").open("wb") as full:
            torch.save(torch.zeros(100_000), full)

    with pytest.raises(CheckpointError, match="No space left on device"):
        write_atomically(tmp_path / "checkpoint.pt", write)
    assert not list(tmp_path.iterdir())


def test_a_file_that_hits_its_size_limit_under_torch_save(old):
    """Here torch raises a RuntimeError of its own and hides the system's."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large; the one written before is kept"):
            write_atomically(old, lambda file: torch.save(torch.zeros(100_000), file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert old.read_text() == "old"
    assert only(old)


def test_another_runtime_error_is_passed_on(old):
    def write(file):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_atomically(old, write)
    assert only(old)


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path):
    """Whether somebody still writes a file only its age tells."""
    keep = {"run[1].json", ".run[1].json", "run[1].json.tmp", ".run1.json.7-00ff.tmp"}
    keep |= {".run[1].json.mine.tmp", ".run[1].json.20240101.tmp"}
    for name in keep | {".run[1].json.17-00ff.tmp"}:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".run[1].json.18-00ff.tmp").touch()
    path = tmp_path / "run[1].json"
    write_text(path, "{}")
    assert {path.name for path in tmp_path.iterdir()} == keep | {".run[1].json.18-00ff.tmp"}
    remove_leftovers(path)
    assert {path.name for path in tmp_path.iterdir()} == keep
