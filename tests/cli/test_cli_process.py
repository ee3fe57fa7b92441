"""What only a process of its own shows: pipes, terminals, signals, imports."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import adamantine

COMMAND = [sys.executable, "-m", "adamantine"]
DIGITS = [*COMMAND, "train", "--workload", "digits"]
TWO_LINES = r"Epoch \d+, Average Loss: \d+\.\d{4}\nTest Accuracy: \d+\.\d{2}%\n"


def test_a_pipe_gets_the_lines_a_terminal_the_bar_and_ctrl_c_ends_both(tmp_path):
    pty = pytest.importorskip("pty")
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [*DIGITS, "--epochs", "1000", "--out", tmp_path / "run"],
        stdout=subprocess.PIPE,
        stderr=its_end,
        text=True,
    )
    os.close(its_end)
    with process:
        lines = "".join(process.stdout.readline() for _ in range(4))  # flushed as they come
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        shown = read_all(terminal)
    assert process.returncode == 130, shown
    assert re.fullmatch(f"(?:{TWO_LINES})+", lines + rest)
    assert "Epoch 1 " in shown  # the bar
    last = re.search(
        r"interrupted; (\d+) epochs? saved\. Go on with: adamantine train --resume", shown
    )
    printed = (lines + rest).count("Epoch")
    assert int(last.group(1)) - printed in (0, 1)  # an epoch is saved before it is printed


def read_all(terminal):
    """What was written to the terminal until its last writer ended."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough():
    process = subprocess.Popen(
        [*DIGITS, "--epochs", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline().startswith("Epoch 1, ")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_the_shell_completes_names():
    result = subprocess.run(
        [*COMMAND],
        env={
            **os.environ,
            "_ADAMANTINE_COMPLETE": "complete_bash",
            "COMP_WORDS": "adamantine train --optimizer rms",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["rmsprop"], result.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--help"]])
def test_what_prints_only_text_needs_no_torch(arguments):
    """Apart from what the package itself imports, which is not the command line's doing."""
    code = f"""
import sys, types
package = types.ModuleType("adamantine")
package.__path__ = [{str(Path(adamantine.__file__).parent)!r}]
sys.modules["adamantine"] = package
from adamantine.cli import run
code = run({arguments!r})
heavy = {{"torch", "numpy", "sklearn", "matplotlib", "numba", "pooch"}} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout
