"""A PostgreSQL server of one's own, on loopback, for as long as a test takes."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import needs

FOLDERS = tuple(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
"""Where Debian has the server's programs, which are not in the PATH."""


def _program(name):
    return needs.program(name, folders=FOLDERS, install=needs.POSTGRESQL)


def _owner():
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        return {"user": pwd.getpwnam("postgres").pw_uid}
    except KeyError:
        needs.missing("the user postgres", "PostgreSQL refuses to run as root")


@contextmanager
def server():
    """The URL of an empty database."""
    needs.module("psycopg", install=needs.PSYCOPG)
    initdb, postgres, owner = _program("initdb"), _program("postgres"), _owner()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="adamantine-postgres-"))
    try:
        if owner:
            os.chown(folder, owner["user"], -1)
        data = folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **owner}
        create = [initdb, "-D", data, "-U", "tuner", "--auth=trust", "--no-sync"]
        subprocess.run(create, check=True, **quiet)
        options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        process = subprocess.Popen([postgres, *options], **quiet)
        try:
            _wait_for(port, process)
            yield f"postgresql+psycopg://tuner@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port, process):
    import psycopg

    for _ in range(300):
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=tuner dbname=postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "PostgreSQL did not start"
            import time

            time.sleep(0.1)
    raise AssertionError("PostgreSQL does not answer")
