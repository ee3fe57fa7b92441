"""Settings that all tests share."""

import gc
import os
import signal

# Two test processes share two cores: OpenMP threads that spin for each other would cost minutes.
# Tests of threading set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("contract")
torch.set_num_threads(1)
# A busy machine is no failure.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_as_on_a_terminal():
    """Where a shell that is not interactive starts this in the background, SIGINT is ignored.

    Processes that tests start would ignore it as well: what is ignored is inherited.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# What is imported for the tests stays: looking through it for garbage took a twentieth of the time.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--only-slow", action="store_true", help="run the tests marked slow alone")


def pytest_collection_modifyitems(config, items):
    """Leave the slow ones out unless they are asked for, by option or by name."""
    if config.getoption("--slow") or any("::" in argument for argument in config.args):
        return
    kept, left_out = [], []
    for item in items:
        slow = item.get_closest_marker("slow") is not None
        (kept if slow == config.getoption("--only-slow") else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
