"""Ctrl-C waits for the next step, a second one does not."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from adamantine.cli.interrupt import Interrupt


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_waits_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.check()
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_it_ctrl_c_is_as_ever():
    with Interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_another_thread_may_use_it_without_effect():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter():
        with Interrupt() as interrupt:
            interrupt.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_process_that_a_test_starts_hears_ctrl_c():
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT


@pytest.mark.slow
def test_these_tests_pass_in_the_background_of_a_script():
    """There a shell starts a command with SIGINT ignored, and what that starts ignores it too."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    script = 'trap "" INT; exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
