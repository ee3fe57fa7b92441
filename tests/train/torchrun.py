"""Start ``adamantine train`` by torchrun, and find its processes."""

import os
import subprocess
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)


class Torchrun:
    """Processes that train together."""

    def __init__(self, count, *arguments, launcher=(), standalone=True):
        paths = os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [
            *(sys.executable, "-m", "torch.distributed.run"),
            *(["--standalone"] if standalone else []),
            *("--nproc-per-node", str(count), *launcher, "-m", "adamantine", "train"),
            *map(str, arguments),
        ]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.out = self.err = ""

    def wait_for_epochs(self, count):
        """Until the first process has printed so many."""
        for line in self.process.stdout:
            self.out += line
            count -= line.startswith("Epoch")
            if not count:
                return
        raise AssertionError(self.process.communicate()[1])

    def end(self):
        """Its exit code, with all that it said in `out` and `err`."""
        out, self.err = self.process.communicate(timeout=120)
        self.out += out
        return self.process.returncode

    @property
    def said(self):
        """Our own lines on standard error; torchrun has its own."""
        return [line for line in self.err.splitlines() if line.startswith("adamantine: ")]

    def signal(self, rank, number):
        """Send the process of this rank a signal."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                variables = (folder / "environ").read_text().split("\0")
            except OSError:
                continue
            if parent == self.process.pid and f"RANK={rank}" in variables:
                os.kill(int(folder.name), number)
                return
        raise AssertionError(f"no process has rank {rank}")


def torchrun(count, *arguments, launcher=()):
    """Run to the end; what it printed."""
    run = Torchrun(count, *arguments, launcher=launcher)
    assert run.end() == 0, run.err
    return run
