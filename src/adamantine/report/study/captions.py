"""What the charts of a study show, in words; page and tables share them."""

from __future__ import annotations

from adamantine.records import Divergence, StudyRecord, Survival, TrialRun, Width
from adamantine.report import formatting
from adamantine.report.study import data

BAND = (
    "Line: mean over seeds. Band: from the lowest to the highest seed. ×: where a run diverged; "
    "it is drawn no farther than the picture's edge."
)


def final(record: StudyRecord) -> str:
    """Of the final metric's chart."""
    missing = [c.name for c in record.contestants if c.metric is None]
    said = (
        f"Read once from the test set after the last step ({better(record)} is better). "
        "Large symbol: mean over seeds. Line: its 95 % interval. Small symbols: single seeds."
    )
    failed = [f"{c.diverged} of {c.name}" for c in record.contestants if c.diverged]
    if failed:
        said += f" Not in it are the runs that diverged: {', '.join(failed)}."
    return f"{said} No final run finished of {', '.join(missing)}." if missing else said


LOSS = f"Mean of the batches' losses since the look before, in the final runs. {BAND}"


def validation(record: StudyRecord) -> str:
    """Of the validation metric's chart."""
    return f"On the validation part, in the final runs ({better(record)} is better). {BAND}"


def rates(record: StudyRecord) -> str:
    """Of the chart of tuning."""
    seeds = record.plan.get("tuning_seeds")
    over = f"{seeds} tuning seeds" if seeds else "the tuning seeds"
    tolerance = record.plan.get("tolerance")
    near = (
        f"within {100 * tolerance:g} % of"
        if isinstance(tolerance, int | float)
        else "as good, within the tolerance, as"
    )
    return (
        f"Above: mean over {over}; small symbols: single seeds; outlined: the chosen trial; "
        f"×: a trial that diverged. Below: the learning rates that are {near} "
        "the contestant's own best. A bar ends in an arrow where no rate beyond was tried."
    )


def times(record: StudyRecord) -> str:
    """Of the chart of times to the target."""
    return (
        f"Share of final runs whose validation {record.metric} has reached {target(record)}, "
        "by Kaplan and Meier's estimate with its 95 % band."
    )


def target(record: StudyRecord) -> str:
    """The target and where it comes from."""
    value = formatting.number(record.target, formatting.metric_format(record.metric))
    worst = " (the best score of the contestant that is worst at it)"
    return value + (worst if record.target_source == "worst" else "")


def better(record: StudyRecord) -> str:
    """Which way the metric is better."""
    return "higher" if record.direction == "max" else "lower"


def divergence(run: TrialRun) -> str:
    """``diverged at step 312, loss nan``; empty for a run that did not."""
    at: Divergence | None = run.diverged
    if run.failed:
        return f"failed: {run.failed}"
    return "" if at is None else f"diverged at step {at.step}, loss {at.loss:.4g}"


def width(found: Width | None) -> str:
    """``2.10 [1.80, 2.40] decades``, with what is known where it is open."""
    said = (
        formatting.NONE
        if found is None
        else formatting.interval(found.decades, formatting.two_digits)
    )
    if found is None or said == formatting.NONE:
        return said
    return f"{'≥ ' if found.open_below or found.open_above else ''}{said} decades"


def reached(found: Survival | None, unit: data.Unit) -> str:
    """``2.04 [1.80, 2.20], 5 of 5``: the restricted mean, and how many runs got there."""
    if found is None:
        return formatting.NONE
    count = f"{found.reached} of {found.runs}"
    if not found.reached:
        return f"never ({count})"
    write = {
        "epochs": formatting.two_digits,
        "steps": formatting.whole,
        "seconds": formatting.two_digits,
    }[unit]
    return f"{formatting.interval(found.mean, write)} ({count})"
