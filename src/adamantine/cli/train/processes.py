"""The processes that ``adamantine train`` is one of."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adamantine.cli.train.live import LiveOutput
from adamantine.cli.train.output import Follower, TrainOutput, train_output
from adamantine.errors import AdamantineError, SaidElsewhereError, UsageError
from adamantine.records import RunRecord
from adamantine.train import RunFolder
from adamantine.train.processes.alone import ALONE, Alone
from adamantine.train.processes.group import Group
from adamantine.train.processes.launch import Launch, check_kind


@contextmanager
def join(kind: str | None, command: str) -> Iterator[Alone]:
    """Join what torchrun has started beside this process; stay alone if it has started none.

    Several that knew nothing of each other would write one folder, so what torchrun starts is
    joined whether or not it is asked for.

    Parameters
    ----------
    kind
        What ``--parallel`` says, None for ``ddp`` where there are several.
    command
        The command line.

    Raises
    ------
    UsageError
        Several are asked for and there is one.
    """
    launch = Launch.from_environment()
    try:
        check_kind(kind)
        if kind is not None and launch is None:
            raise UsageError(
                f"--parallel {kind} is for processes that torchrun starts; type: "
                f"torchrun --standalone --nproc-per-node 2 -m {command}"
            )
    except AdamantineError:
        if launch and launch.rank:
            raise SaidElsewhereError from None
        raise
    if launch is None:
        yield ALONE
        return
    with Group(launch, kind or "ddp") as group:
        yield group


def check_options(processes: Alone, state_dtype: str | None) -> None:
    """Raise :class:`UsageError` for what could be trained together, but not put together again."""
    if isinstance(processes, Group) and processes.kind == "fsdp" and state_dtype == "int8":
        raise UsageError(
            "--state-dtype int8 does not go with --parallel fsdp: the codes of parts have scales "
            "of their own; give bfloat16, or --parallel ddp"
        )


def output_of(processes: Alone, *, as_json: bool, live: bool) -> TrainOutput:
    """The first one's is seen."""
    if not processes.is_first:
        return Follower(as_json=as_json)
    return LiveOutput(as_json=as_json) if live else train_output(as_json=as_json)


def device_of(processes: Alone, name: str) -> str:
    """What ``--device`` means here: a GPU for each process of a machine.

    Raises
    ------
    UsageError
        One GPU is asked for by number, or there are fewer than processes.
    """
    if not isinstance(processes, Group) or name == "cpu":
        return name
    import torch

    place, count = processes.launch, torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name.startswith("cuda:"):
        raise UsageError(f"--device is {name}, but each process has a GPU of its own; give cuda")
    if name != "cuda" or not count:
        return name
    if place.local_count > count:
        raise UsageError(
            f"there are {place.local_count} processes on this machine and {count} GPUs; start "
            f"{count} with --nproc-per-node, or give --device cpu"
        )
    torch.cuda.set_device(place.local_rank)
    return f"cuda:{place.local_rank}"


def restarted(processes: Alone, folder: RunFolder | None) -> RunRecord | None:
    """The run in the folder, if it is this one and torchrun has started it again."""
    if not isinstance(processes, Group) or not processes.launch.restarts or folder is None:
        return None
    earlier = folder.read()
    ours = earlier and earlier.options.get("torchrun") == processes.launch.identity
    return earlier if ours else None


def options_of(processes: Alone) -> dict[str, str]:
    """By what :func:`restarted` recognises the run."""
    return {"torchrun": processes.launch.identity} if isinstance(processes, Group) else {}


def how_to_go_on(processes: Alone, folder: Path) -> str:
    """What to type, unless torchrun does it."""
    command = f"train --resume --out {shlex.quote(str(folder))}"
    if not isinstance(processes, Group):
        return f"Go on with: adamantine {command}"
    if processes.launch.restarts_left > 0:
        return "torchrun goes on with them"
    kind = "" if processes.kind == "ddp" else f" --parallel {processes.kind}"
    return f"Go on with: {processes.launch.command} -m adamantine {command}{kind}"
