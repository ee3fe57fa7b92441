"""Optuna's dashboard shows a search as it is kept, from its journal and from a database."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import cheap
import pytest

import needs
from adamantine.study import TunePlan, tune

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@pytest.fixture(params=["journal", "database"])
def storage(request, tmp_path):
    """Where a search was kept, as the dashboard takes it."""
    url = f"sqlite:///{tmp_path}/trials.db" if request.param == "database" else None
    plan = TunePlan(("sgd",), trials=5, epochs=3, seeds=2, looks=2)
    tune(cheap.workload, plan, out=tmp_path, storage=url, study_name="my-search")
    return url or str(tmp_path / "optuna.journal")


@pytest.fixture
def address(storage):
    """Of a dashboard that is being served."""
    port = free_port()
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [program, storage, "--port", str(port), "--server", "wsgiref", "--quiet"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": ""}) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urlopen(address, timeout=10).close()
                    break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.2)
            yield address
        finally:
            server.kill()


def test_the_dashboard_shows_a_search(address):
    sync = needs.module("playwright.sync_api", install=needs.PLAYWRIGHT)
    chromium = needs.program("chromium", "chromium-browser", install=needs.CHROMIUM)
    with urlopen(f"{address}/api/studies") as answer:
        [study] = json.load(answer)["study_summaries"]
    assert study["study_name"] == "my-search"
    with (
        sync.sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.goto(f"{address}/dashboard")
        page.get_by_text("my-search").first.wait_for()
        page.goto(f"{address}/dashboard/studies/{study['study_id']}/trials")
        page.get_by_text("Trial 4").first.wait_for()
        assert "PRUNED" in page.content().upper() or "COMPLETE" in page.content().upper()
