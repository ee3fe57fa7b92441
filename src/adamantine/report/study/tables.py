"""The tables of a study: for its page, and as plain rows for a terminal."""

from __future__ import annotations

from adamantine.records import Contestant, Difference, Interval, StudyRecord
from adamantine.report import formatting
from adamantine.report.frame import Table
from adamantine.report.study import captions, data
from adamantine.report.study.costs import costs as costs_of

QUANTITIES = {
    "metric": "Differences in test {metric}",
    "epochs_to_target": "Differences in epochs to the target",
    "lr_width": "Differences in learning-rate width (decades)",
}
EDGES = {"below": " (the smallest rate tried)", "above": " (the largest rate tried)"}


def study_rows(record: StudyRecord) -> list[dict[str, str]]:
    """One row per contestant under short headings, in order.

    Columns
    -------
    contestant, settings
        Its name and the settings that were chosen.
    test <metric>
        Mean over the final runs with its 95 % interval.
    epochs to target
        Restricted mean with its interval, and how many runs reached it.
    lr width
        Decades of learning rates within the tolerance of the best.
    time to target
        Restricted mean of the seconds until then, and as a multiple of the fastest's.
    time/step, state
        Seconds per step and bytes of state, measured, and the latter as a multiple of the least.
    """
    write = formatting.metric_format(record.metric)
    costs = costs_of(record)
    return [
        {
            "contestant": one.name,
            "settings": formatting.settings(one.settings)
            if one.settings
            else "all trials diverged",
            f"test {record.metric}": _with_diverged(formatting.interval(one.metric, write), one),
            "epochs to target": captions.reached(one.epochs_to_target, "epochs"),
            "time to target": costs[one.name].time(),
            "lr width": captions.width(one.width),
            "time/step": formatting.number(one.seconds_per_step, formatting.duration),
            "state": costs[one.name].memory(),
        }
        for one in record.contestants
    ]


def results(record: StudyRecord) -> Table:
    """What was chosen for each contestant, and how good it is."""
    rows = [
        [
            one.name,
            short["settings"] + EDGES.get(one.on_edge or "", ""),
            short[f"test {record.metric}"],
            formatting.interval(one.loss, lambda value: f"{value:.4g}"),
            short["lr width"].removesuffix(" decades"),
        ]
        for one, short in zip(record.contestants, study_rows(record), strict=True)
    ]
    heads = ["Contestant", "Chosen settings", f"Test {record.metric}", "Test loss", "LR width"]
    return Table(
        "Chosen settings and what they gave: means with 95 % intervals, the width in decades.",
        heads,
        rows,
        frozenset({1}),
    )


def costs(record: StudyRecord) -> Table:
    """What each contestant takes: until the target, a step, and in memory."""
    multiples = costs_of(record)
    rows = [
        [
            one.name,
            short["epochs to target"],
            formatting.interval(_mean(one, "steps"), formatting.whole),
            formatting.interval(_mean(one, "seconds"), formatting.two_digits),
            multiples[one.name].multiple(),
            short["time/step"],
            short["state"],
            f"{one.state_bytes / one.parameters:.3g} B" if one.parameters else formatting.NONE,
        ]
        for one, short in zip(record.contestants, study_rows(record), strict=True)
    ]
    return Table(
        f"Until a validation {record.metric} of {captions.target(record)}: restricted means with "
        "95 % intervals (a run that never got there counts with its whole budget; in brackets, "
        "how many got there). Time and state are measured; × is a multiple of the best.",
        [
            "Contestant",
            "Epochs",
            "Steps",
            "Seconds",
            "Of the best",
            "Time a step",
            "State",
            "A parameter",
        ],
        rows,
    )


def differences(record: StudyRecord) -> dict[str, Table]:
    """One table for each quantity that pairs were compared by, under its title."""
    tables = {}
    for quantity, said in QUANTITIES.items():
        title = said.format(metric=record.metric)
        found = [d for d in record.differences if d.quantity == quantity]
        if found:
            tables[title] = Table(
                f"{title}: first minus second, on the same seeds. "
                "Intervals and p are corrected over all pairs (Holm).",
                ["Pair", "Difference", "p", "Shown to be better", "Would be seen", "Seeds needed"],
                [_difference(record, difference) for difference in found],
                frozenset({3}),
            )
    return tables


def trials(record: StudyRecord) -> Table:
    """Every setting that was tried."""
    write = formatting.metric_format(record.metric if data.judged_by_metric(record) else "")
    rows = []
    for one in record.contestants:
        best = data.chosen(one)
        for trial in one.trials:
            scores = [
                "diverged" if s is None else formatting.number(s, write) for s in trial.scores
            ]
            rows.append(
                [
                    one.name,
                    formatting.settings(trial.settings) + (" (chosen)" if trial is best else ""),
                    "diverged" if trial.score is None else formatting.number(trial.score, write),
                    ", ".join(scores),
                ]
            )
    return Table(
        f"Tuning trials, judged by {data.score_name(record)}; the test set was not read.",
        ["Contestant", "Settings", "Mean score", "Each seed"],
        rows,
        frozenset({1}),
    )


def final_runs(record: StudyRecord) -> Table:
    """Every final run."""
    write = formatting.metric_format(record.metric)
    rows = [
        [
            one.name,
            str(run.seed),
            captions.divergence(run) or formatting.number(run.test_metric, write),
            formatting.number(run.test_loss, lambda value: f"{value:.4g}"),
            formatting.whole(run.steps),
            formatting.duration(run.seconds),
        ]
        for one in record.contestants
        for run in data.final_runs(record, one.name)
    ]
    return Table(
        "Final runs, each with the settings that were chosen for its contestant.",
        ["Contestant", "Seed", f"Test {record.metric}", "Test loss", "Steps", "Time"],
        rows,
    )


def claims(record: StudyRecord) -> Table:
    """What people say, and what this study says to it."""
    return Table(
        "What people say, and whether this study bears it out.",
        ["Claim", "Holds", "Evidence"],
        [[claim.claim, claim.holds, claim.evidence] for claim in record.claims],
        frozenset({1, 2}),
    )


def _difference(record: StudyRecord, difference: Difference) -> list[str]:
    is_share = difference.quantity == "metric" and record.metric == "accuracy"
    write = formatting.points if is_share else lambda value: f"{value:.3g}"
    unit = " points" if is_share else ""
    pair = f"{difference.first} − {difference.second}"
    if difference.difference is None:
        reason = f"not tested: {difference.reason}" if difference.reason else "not tested"
        return [pair, formatting.NONE, formatting.NONE, reason, formatting.NONE, formatting.NONE]
    seeds = difference.seeds_needed
    return [
        pair,
        formatting.interval(difference.difference, formatting.signed(write)) + unit,
        formatting.number(difference.p_holm, formatting.probability),
        difference.better or "no difference shown",
        formatting.number(difference.detectable, write) + unit,
        formatting.NONE if seeds is None else formatting.whole(seeds),
    ]


def _mean(one: Contestant, unit: data.Unit) -> Interval | None:
    found = data.survival(one, unit)
    return None if found is None or not found.reached else found.mean


def _with_diverged(said: str, one: Contestant) -> str:
    return f"{said}, {one.diverged} diverged" if one.diverged else said
