"""Whether a run can go on from a checkpoint, and what its configuration then is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamantine.errors import CheckpointError
from adamantine.train.config import differences
from adamantine.train.schedules import SCHEDULES

DATA = ("data", "train_examples", "test_examples")
"""What a configuration says of the data."""
PROCESSES = ("parallel", "processes")
"""What it says of those that share the work."""


def resumed(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    done: int,
    folder: Path,
    allow_changed_data: bool = False,
) -> dict[str, Any]:
    """The configuration that a run goes on with: `now`, if that gives what `then` began.

    The number of epochs may change where the epochs that are done do not depend on it, and the
    data where that is asked for; the sums over all data that it has seen are then kept. The
    number of processes may change: another one rounds otherwise, and does the same.

    Parameters
    ----------
    then, now
        Of the checkpoint and of the request.
    done
        Epochs in the checkpoint.

    Raises
    ------
    CheckpointError
        It would be another run; the message says by what.
    """
    if now["epochs"] < done:
        raise CheckpointError(
            f"the run in {folder} has {done} epochs done already, more than the {now['epochs']} "
            f"that are asked for: give --epochs {done} or more, or another folder with --out"
        )
    schedule = now["schedule"]
    free = (*DATA, *PROCESSES, *(() if schedule in SCHEDULES else ("epochs",)))
    changed = differences(_without(then, free), _without(now, free))
    if schedule in SCHEDULES and then["epochs"] != now["epochs"]:
        changed.append(
            f"the schedule {schedule} depends on the number of epochs, so that those that are done "
            "would have been others"
        )
    if changed:
        raise CheckpointError(
            f"cannot resume the run in {folder}, it was configured differently: "
            f"{'; '.join(changed)}. Leave these options out, or start again with --overwrite"
        )
    _check_data(then, now, folder, allow_changed_data)
    return _with_sum(now, then)


def _check_data(
    then: Mapping[str, Any], now: Mapping[str, Any], folder: Path, allowed: bool
) -> None:
    changed = differences(
        {name: then.get(name) for name in DATA[1:]}, {name: now.get(name) for name in DATA[1:]}
    )
    if "data" in then and _last(then["data"]) != now["data"]:
        changed.append(f"their sum was {_last(then['data'])} and is now {now['data']}")
    if not changed:
        return
    said = f"cannot resume the run in {folder}, the data have changed: {'; '.join(changed)}."
    if not allowed:
        raise CheckpointError(
            f"{said} Put the old data back, or go on with the new ones with --allow-changed-data"
        )
    per, _ = SCHEDULES.get(now["schedule"], ("epoch", None))
    if per == "batch" and then["train_examples"] != now["train_examples"]:
        raise CheckpointError(
            f"{said} The schedule {now['schedule']} depends on the number of steps, so that other "
            "data cannot take their place; begin another run with another --out"
        )


def _with_sum(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """`now` with the sums of all data so far, in their order."""
    before, data = then.get("data"), now["data"]
    if before is None or data is None:
        return dict(now)
    return {**now, "data": before if _last(before) == data else f"{before} {data}"}


def _last(sums: str | None) -> str | None:
    return sums and sums.split()[-1]


def _without(configuration: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in configuration.items() if name not in names}
