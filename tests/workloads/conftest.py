import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from workloads.fake_mnist import FakeMnist, real_mnist

REAL_MNIST = real_mnist()

# A busy machine makes one example slow; pytest-timeout watches over the whole test.
settings.register_profile("workloads", deadline=None)
settings.load_profile("workloads")


@pytest.fixture
def fake() -> FakeMnist:
    return FakeMnist()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache, and no data folder in the environment."""
    folder = tmp_path / "user-cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: folder / name)
    monkeypatch.delenv("ADAMANTINE_DATA", raising=False)
    return folder / "adamantine"


@pytest.fixture
def mnist_folder() -> Path:
    if REAL_MNIST is None:
        pytest.skip("needs MNIST in $ADAMANTINE_DATA or ../shared/data")
    return REAL_MNIST


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For networks so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder for user modules; what they add to the interpreter is undone."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("mine", "helper", "inner"):
            del sys.modules[name]


class Mirror:
    """A web server on this machine that serves `pages`, some of them badly."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.cut_short: set[str] = set()
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                mirror.requests.append(name)
                page = mirror.pages.get(name)
                if page is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page[: len(page) // 2] if name in mirror.cut_short else page)

            def log_message(self, *args: object) -> None:
                """Tests print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mirror]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = [Mirror(), Mirror()]
    yield made
    for mirror in made:
        mirror.close()
