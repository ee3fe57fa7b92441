import pytest
import torch

from adamantine.cli import run
from adamantine.train.seeds import rng_state, set_rng_state


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch):
    threads, state = torch.get_num_threads(), rng_state()
    monkeypatch.delenv("ADAMANTINE_DATA", raising=False)
    yield
    torch.set_num_threads(threads)
    set_rng_state(state)


class Result:
    """What a command gave."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def failed(self, code, *, saying):
        """Whether it failed as a command must: one line on stderr, nothing but epochs on stdout."""
        one_line = self.err.count("\n") == 1 and self.err.startswith("adamantine: ")
        return self.code == code and one_line and saying in self.err


@pytest.fixture
def adamantine(capsys):
    """Run a command line in this process."""

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def digits(adamantine):
    """Train the digits for two epochs, with the options given."""
    return lambda *options: adamantine("train", "--workload", "digits", "--epochs", 2, *options)
