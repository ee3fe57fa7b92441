"""Train `digits`, kill -9 the process at random moments, resume, and compare the bits.

``python tests/train/killer.py 20 int8`` tries 20 moments, with states in int8. Every attempt is a
fork of this process, so that torch and the compiled kernels are loaded once; what is killed is a
real process in the middle of its work.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from adamantine import Adam, workloads
from adamantine.records import parse_lines
from adamantine.train import Callbacks, RunFolder, TrainConfig, seed_everything, train

CONFIG = TrainConfig(epochs=6, batch_size=16, schedule="cosine", seed=7)
STATE_DTYPE = sys.argv[2]
DIGITS = workloads.load("digits")


class Tell(Callbacks):
    """Says through a pipe that the first step is done."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_step(self, step):
        if self.pipe:
            os.close(self.pipe)
            self.pipe = None


def run(out, pipe):
    seed_everything(CONFIG.seed)
    model = DIGITS.model()
    optimizer = Adam(model.parameters(), state_dtype=STATE_DTYPE)
    train(DIGITS, model, optimizer, CONFIG, out=out, if_exists="resume", callbacks=Tell(pipe))


def attempt(out, seconds=None, after_first_step=True):
    """Run in a process of its own; kill it after `seconds`. How long it lived."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        run(out, writing)
        os._exit(0)
    os.close(writing)
    if after_first_step:
        os.read(reading, 1)  # returns when the last writer has closed it
    os.close(reading)
    started = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return time.perf_counter() - started


def check_folder(out):
    """Whatever the moment, what is there can be read. How many epochs it holds."""
    if not out.exists():
        return 0
    record = RunFolder(out).read()
    if (out / "checkpoint.pt").exists():
        torch.load(out / "checkpoint.pt", weights_only=True)
    epochs = record.epochs if record else ()
    assert [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))
    return len(epochs)


def final(out):
    """The weights, and what the metrics say but for the times."""
    checkpoint = torch.load(out / "checkpoint.pt", weights_only=True)
    epochs = parse_lines((out / "metrics.jsonl").read_text(), "metrics.jsonl")
    assert len(epochs) == CONFIG.epochs
    leftovers = [path.name for path in out.iterdir() if path.suffix == ".tmp"]
    assert not leftovers, leftovers
    return checkpoint["model"], [(e.average_loss, e.test_loss, e.test_metric) for e in epochs]


def load_kernels():
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    Adam([parameter], state_dtype=STATE_DTYPE).step()


def main(moments):
    torch.set_num_threads(1)  # no thread is lost in a fork that was never there
    load_kernels()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        duration = attempt(whole)
        expected = final(whole)
        stages = []
        for moment in range(moments):
            out = Path(folder) / f"run-{moment // 3}"  # three kills a run, then it may end
            attempt(out, random.uniform(0, 0.6 * duration), after_first_step=random.random() > 0.2)
            stages.append(check_folder(out))
            if moment % 3 == 2 or moment == moments - 1:
                attempt(out)
                assert_same(final(out), expected, stages)
        print(f"killed with {stages} of {CONFIG.epochs} epochs done: all bits are the same")


def assert_same(now, expected, stages):
    (weights, metrics), (expected_weights, expected_metrics) = now, expected
    for name, value in expected_weights.items():
        assert torch.equal(weights[name], value), (name, stages)
    assert metrics == expected_metrics, stages


if __name__ == "__main__":
    main(int(sys.argv[1]))
