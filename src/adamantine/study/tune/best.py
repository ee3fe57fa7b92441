"""A recommended setting as a person uses it: a line of Python, a command, a file."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamantine.records import Best
from adamantine.study.settings.calls import OURS, python_line
from adamantine.study.settings.contestants import Contestant
from adamantine.study.tune.finals import Entry
from adamantine.study.tune.plan import TunePlan


def best_of(entry: Entry, plan: TunePlan, conditions: Mapping[str, Any], file: Path | None) -> Best:
    """The setting, ready to paste.

    Parameters
    ----------
    conditions
        The search's: which workload, and whether it takes a batch size.
    file
        Where it is going to lie, to be trained from; None if it cannot be.
    """
    contestant = entry.contestant
    settings = contestant.with_values(entry.settings)
    loop = {"schedule": plan.schedule, **entry.training}
    size = conditions["batch_size"] and loop.get("batch_size", plan.batch_size)
    trainable = file is not None and contestant.optimizer.startswith(OURS)
    return Best(
        workload=conditions["workload"],
        optimizer=_name(contestant),
        settings=settings,
        epochs=plan.epochs,
        batch_size=size,
        schedule=loop["schedule"],
        python=python_line(contestant.optimizer, settings),
        command=f"adamantine train --config {shlex.quote(str(file))}" if trainable else "",
    )


def _name(contestant: Contestant) -> str:
    """As ``adamantine train`` calls it; the spec where it does not have it."""
    if contestant.optimizer.startswith(OURS):
        return contestant.optimizer.removeprefix(OURS).lower()
    return contestant.spec
