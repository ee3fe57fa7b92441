import gzip
import io
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pooch
import pytest
import rich.console

from adamantine.errors import DataError
from adamantine.workloads.mnist import download
from adamantine.workloads.mnist.download import fetch_mnist
from adamantine.workloads.mnist.workloads import load_mnist
from workloads.conftest import Mirror
from workloads.fake_mnist import NAMES, TEST, TRAIN, FakeMnist

GZ = [f"{name}.gz" for name in NAMES]


def serve(mirror: Mirror, fake: FakeMnist) -> Mirror:
    mirror.pages = {f"{name}.gz": fake.gz[name] for name in NAMES}
    return mirror


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_all_four_files_come_into_the_cache(
    mirrors: list[Mirror], fake: FakeMnist, cache: Path
) -> None:
    serve(mirrors[0], fake)
    checks = fetch_mnist(files=fake.files, mirrors=[mirror.url for mirror in mirrors])
    assert [check.ok for check in checks] == [True] * 4
    assert [check.path for check in checks] == [str(cache / "mnist" / name) for name in GZ]
    assert held(cache) == sorted(GZ)
    assert mirrors[0].requests == GZ
    assert mirrors[1].requests == []


def test_pooch_does_not_announce_addresses(
    mirrors: list[Mirror], fake: FakeMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    logger = pooch.get_logger()
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(said)])
    level = logger.level
    serve(mirrors[0], fake)
    fetch_mnist(files=fake.files, mirrors=[mirrors[0].url])
    assert said.getvalue() == ""
    assert logger.level == level


def test_what_is_there_is_not_fetched_again(
    mirrors: list[Mirror], fake: FakeMnist, cache: Path
) -> None:
    fake.write(cache / "mnist", names=NAMES[:2])
    serve(mirrors[0], fake)
    fetch_mnist(files=fake.files, mirrors=[mirrors[0].url])
    assert mirrors[0].requests == GZ[2:]
    assert all(check.ok for check in fetch_mnist(files=fake.files, mirrors=[]))


def test_training_downloads_once(mirrors: list[Mirror], fake: FakeMnist) -> None:
    serve(mirrors[0], fake)
    for _ in range(2):
        train, test = load_mnist(files=fake.files, mirrors=[mirrors[0].url])
        assert train[0].shape == (TRAIN, 1, 28, 28)
        assert test[1].shape == (TEST,)
    assert mirrors[0].requests == GZ


def cut_short(mirror: Mirror, fake: FakeMnist) -> str:
    mirror.cut_short = {GZ[0]}
    return "the connection broke off"


def send_something_else(mirror: Mirror, fake: FakeMnist) -> str:
    mirror.pages[GZ[0]] = gzip.compress(b"<html>please log in</html>")
    return r"sent something else \(wrong SHA-256\)"


def send_nothing(mirror: Mirror, fake: FakeMnist) -> str:
    mirror.pages[GZ[0]] = b""
    return r"sent something else \(wrong SHA-256\)"


def answer_404(mirror: Mirror, fake: FakeMnist) -> str:
    del mirror.pages[GZ[0]]
    return "HTTP 404"


FAULTS = [cut_short, send_something_else, send_nothing, answer_404]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_helps_out(
    mirrors: list[Mirror],
    fake: FakeMnist,
    cache: Path,
    fault: Callable[[Mirror, FakeMnist], str],
) -> None:
    for mirror in mirrors:
        serve(mirror, fake)
    fault(mirrors[0], fake)
    checks = fetch_mnist(files=fake.files, mirrors=[mirror.url for mirror in mirrors])
    assert all(check.ok for check in checks)
    assert mirrors[1].requests == GZ[:1]
    assert held(cache) == sorted(GZ)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_download_is_not_kept(
    mirrors: list[Mirror],
    fake: FakeMnist,
    cache: Path,
    fault: Callable[[Mirror, FakeMnist], str],
) -> None:
    serve(mirrors[0], fake)
    reason = fault(mirrors[0], fake)
    message = rf"^{GZ[0]} could not be downloaded \(127\.0\.0\.1:\d+: {reason}\); .*--data-dir"
    with pytest.raises(DataError, match=message):
        fetch_mnist(files=fake.files, mirrors=[mirrors[0].url])
    assert held(cache) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_there_survives_a_failed_download(
    mirrors: list[Mirror],
    fake: FakeMnist,
    cache: Path,
    fault: Callable[[Mirror, FakeMnist], str],
) -> None:
    folder = fake.write(cache / "mnist", gz=True)
    (folder / GZ[0]).write_bytes(b"damaged, but the user's only copy")
    serve(mirrors[0], fake)
    fault(mirrors[0], fake)
    with pytest.raises(DataError):
        fetch_mnist(files=fake.files, mirrors=[mirrors[0].url])
    assert (folder / GZ[0]).read_bytes() == b"damaged, but the user's only copy"
    assert held(cache) == sorted(GZ)


@pytest.mark.parametrize("gz", [False, True])
def test_a_damaged_file_in_the_cache_is_replaced(
    mirrors: list[Mirror], fake: FakeMnist, cache: Path, gz: bool
) -> None:
    folder = fake.write(cache / "mnist", gz=gz)
    damaged = folder / (GZ[2] if gz else NAMES[2])
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with pytest.raises(DataError, match="; run `adamantine data mnist` to fetch it again"):
        load_mnist(files=fake.files, mirrors=[])
    serve(mirrors[0], fake)
    assert all(check.ok for check in fetch_mnist(files=fake.files, mirrors=[mirrors[0].url]))
    assert mirrors[0].requests == [GZ[2]]
    assert load_mnist(files=fake.files, mirrors=[])[1][0].shape == (TEST, 1, 28, 28)


def test_a_damaged_file_of_the_user_is_reported_and_left_alone(
    mirrors: list[Mirror], fake: FakeMnist, tmp_path: Path
) -> None:
    folder = fake.write(tmp_path / "mine", names=NAMES[:3])
    (folder / NAMES[0]).write_bytes(b"mine")
    serve(mirrors[0], fake)
    checks = fetch_mnist(folder, files=fake.files, mirrors=[mirrors[0].url])
    assert [check.ok for check in checks] == [False, True, True, True]
    assert f"delete it and run `adamantine data mnist --data-dir {folder}`" in checks[0].problem
    assert (folder / NAMES[0]).read_bytes() == b"mine"
    assert mirrors[0].requests == [GZ[3]]


def test_no_network_is_one_clear_line(fake: FakeMnist, cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(DataError) as caught:
            load_mnist(files=fake.files, mirrors=[url, url])
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    assert message.count("no connection") == 2
    assert "check the network" in message
    assert "--data-dir or $ADAMANTINE_DATA" in message
    assert held(cache) == []


def test_a_silent_server_times_out(
    fake: FakeMnist, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            fetch_mnist(files=fake.files, mirrors=[url])
    assert held(cache) == []


def test_a_full_disk_is_not_taken_for_a_bad_mirror(
    mirrors: list[Mirror], fake: FakeMnist, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mirror in mirrors:
        serve(mirror, fake)

    def full(self: object, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); free"):
        fetch_mnist(files=fake.files, mirrors=[mirror.url for mirror in mirrors])
    assert held(cache) == []


def test_a_folder_that_cannot_be_made_is_told(
    mirrors: list[Mirror], fake: FakeMnist, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    serve(mirrors[0], fake)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: cannot be written"):
        fetch_mnist(tmp_path / "file", files=fake.files, mirrors=[mirrors[0].url])
    assert (tmp_path / "file").read_text() == "not a folder"


def test_progress_reports_every_file_to_its_end(mirrors: list[Mirror], fake: FakeMnist) -> None:
    serve(mirrors[0], fake)
    reports: list[tuple[str, int, int]] = []
    fetch_mnist(
        None,
        lambda name, done, total: reports.append((name, done, total)),
        files=fake.files,
        mirrors=[mirrors[0].url],
    )
    sizes = {name: len(fake.gz[name]) for name in NAMES}
    assert {name for name, _, _ in reports} == set(NAMES)
    assert all(0 < done <= total == sizes[name] for name, done, total in reports)
    assert {name: done for name, done, _ in reports} == sizes


def test_the_bar_shows_each_file_on_a_terminal_and_nothing_elsewhere(
    mirrors: list[Mirror], fake: FakeMnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(mirrors[0], fake)
    make_console = rich.console.Console
    shown = {}
    for is_terminal in (True, False):
        stream = io.StringIO()
        console = make_console(file=stream, force_terminal=is_terminal, width=100)
        monkeypatch.setattr(rich.console, "Console", lambda stderr, console=console: console)
        folder = tmp_path / str(is_terminal)
        fetch_mnist(folder, progress=True, files=fake.files, mirrors=[mirrors[0].url])
        shown[is_terminal] = stream.getvalue()
    assert all(name in shown[True] for name in NAMES)
    assert shown[False] == ""
