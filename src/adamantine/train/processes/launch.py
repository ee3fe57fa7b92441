"""What torchrun says to the processes that it starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from adamantine.errors import UsageError

KINDS = ("ddp", "fsdp")
"""A whole model in each process, or its parameters divided among them."""
NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """One process's place among those of a run.

    Parameters
    ----------
    rank, count
        Among all processes.
    local_rank, local_count
        Among those of this machine.
    restarts, restarts_left
        How often torchrun has started all processes again, and how often it still would.
    identity
        The same in all starts by one torchrun.
    """

    rank: int
    count: int
    local_rank: int
    local_count: int
    restarts: int
    restarts_left: int
    identity: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch | None":
        """None for a process that nobody has started as one of several."""
        if any(name not in environment for name in NEEDED):
            return None
        restarts = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))
        name = environment.get("TORCHELASTIC_RUN_ID", "none")
        return cls(
            rank=int(environment["RANK"]),
            count=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_count=int(environment.get("LOCAL_WORLD_SIZE", 1)),
            restarts=restarts,
            restarts_left=int(environment.get("TORCHELASTIC_MAX_RESTARTS", 0)) - restarts,
            # Runs have a name of their own only where torchrun was given one or made one up.
            identity=name if name != "none" else f"started by {os.getppid()}",
        )

    @property
    def command(self) -> str:
        """What starts as many processes again."""
        if self.local_count == self.count:
            return f"torchrun --standalone --nproc-per-node {self.count}"
        return "torchrun (as before)"


def check_kind(kind: str | None) -> None:
    """Raise :class:`UsageError` unless `kind` is one of :data:`KINDS`, or None."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--parallel is {kind!r}, expected {' or '.join(KINDS)}")
