"""What a search's finals show: what to use, and the sentence that says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import scipy  # whose parts load when they are asked for

from adamantine.records import Candidate, Difference, Finding, Interval, TrialRun
from adamantine.study.settings.literals import typed
from adamantine.study.statistics.intervals import mean_interval, rounding_variance
from adamantine.study.statistics.pairs import ALPHA, Sample, compare
from adamantine.study.statistics.trials import Direction
from adamantine.study.statistics.wording import Scale, counted, flipped, scale_of

TUNED, DEFAULTS = "tuned", "defaults"


@dataclass(frozen=True)
class Judgement:
    """As the fields of the same names of :class:`~adamantine.records.TuneRecord`."""

    tuned_metric: Interval | None
    defaults_metric: Interval | None
    difference: Difference | None
    recommended: Literal["tuned", "defaults"]
    verdict: tuple[Finding, ...]


def judge(
    tuned: Candidate | None,
    defaults: Candidate,
    finals: Mapping[str, Sequence[TrialRun]],
    metric: str,
    direction: Direction,
    resolution: float,
    calls: Mapping[str, str],
    judged_before: int = 0,
) -> Judgement:
    """Compare the final runs seed by seed.

    Parameters
    ----------
    finals
        Those of ``"tuned"`` and of ``"defaults"``; empty where there are none.
    resolution
        The step of a metric that counts hits among the test examples, or 0.
    calls
        What builds the ``"tuned"`` setting and the ``"defaults"``: ``Adam(lr=0.0021)``.
    judged_before
        Other settings of the same search whose finals there are, from when it had fewer trials.
    """
    metrics = {role: _metric(finals.get(role, ()), metric) for role in (TUNED, DEFAULTS)}
    scale = scale_of(metric)
    recommended: Literal["tuned", "defaults"] = "defaults"
    difference = None
    of_tuned, of_defaults = (
        _outcome(finals.get(role, ()), metrics[role], metric) for role in (TUNED, DEFAULTS)
    )
    if tuned is None:
        why = (
            f"apart from the defaults no trial came to its end with a finite {metric}: there is no "
            "other setting to recommend"
        )
        evidence = []
    else:
        at_defaults = f"{of_defaults} at {_defaults_of(tuned, defaults)}"
        told = f"tuned {described(tuned)}: {of_tuned} against {at_defaults}"
        if metrics[TUNED] is None:
            why = f"of the tuned setting {of_tuned}"
        elif metrics[DEFAULTS] is None:
            recommended, why = _where_defaults_diverge(
                finals[DEFAULTS], of_defaults, len(finals[TUNED])
            )
        else:
            samples = [_sample(role, finals[role], resolution) for role in (TUNED, DEFAULTS)]
            difference = compare(samples, "metric", direction)[0]
            if difference.better == TUNED:
                recommended = "tuned"
            why = _why(difference, scale, len(finals[TUNED]))
            if difference.difference is not None and difference.better:
                told += f"; the difference is {scale.difference(difference.difference)}"
        evidence = [Finding("final", f"{told}.")]
    use = f"Use {calls[recommended]}"
    if recommended == DEFAULTS:
        use += ", the defaults"
    if metrics[recommended] is not None:
        use += f": {of_tuned if recommended == TUNED else of_defaults}"
    return Judgement(
        metrics[TUNED],
        metrics[DEFAULTS],
        difference,
        recommended,
        (Finding("decision", f"{use}; {why}."), *evidence, *_cautions(judged_before)),
    )


def _cautions(judged_before: int) -> tuple[Finding, ...]:
    if not judged_before:
        return ()
    others = "another setting was" if judged_before == 1 else f"{judged_before} others were"
    sentence = (
        f"Earlier in this search {others} judged on the same test data: of several, one looks "
        "better by chance more often than once in twenty times."
    )
    return (Finding("caution", sentence),)


def described(candidate: Candidate) -> str:
    """``adam lr 0.0021, betas (0.9,0.98), batch_size 32``."""
    settings = {**candidate.settings, **candidate.training}
    values = ", ".join(f"{name} {_short(value)}" for name, value in settings.items())
    return f"{candidate.contestant} {values}".strip()


def _why(difference: Difference, scale: Scale, seeds: int) -> str:
    found = difference.difference
    if found is None:
        return f"whether tuning helped cannot be told ({difference.reason})"
    if difference.better is not None:
        lead = scale.difference(flipped(found) if found.value < 0 else found)
        who = "the defaults are" if difference.better == TUNED else "the tuned setting is"
        return f"{who} worse by {lead}"
    seen = ""
    if difference.detectable is not None:
        seen = f" (one under {scale.amount(difference.detectable)} would often not be seen)"
    return f"no difference to the tuned setting could be shown with {counted(seeds, 'seed')}{seen}"


def _where_defaults_diverge(
    runs: Sequence[TrialRun], outcome: str, seeds: int
) -> tuple[Literal["tuned", "defaults"], str]:
    """What follows where the tuned setting never diverged; there are no metrics to compare."""
    lost = sum(run.test_metric is None for run in runs)
    table = [[lost, len(runs) - lost], [0, seeds]]
    if scipy.stats.fisher_exact(table).pvalue < ALPHA:
        return "tuned", f"at the defaults {outcome}"
    often = f"with {counted(seeds, 'seed')} that may be chance"
    return "defaults", f"{outcome}, but whether tuning helped cannot be told ({often})"


def _metric(runs: Sequence[TrialRun], metric: str) -> Interval | None:
    values = [run.test_metric for run in runs if run.test_metric is not None]
    if not runs or len(values) < len(runs):
        return None
    bounds = (0.0, 1.0) if metric == "accuracy" else ()
    return mean_interval(values, *bounds)


def _sample(role: str, runs: Sequence[TrialRun], resolution: float) -> Sample:
    values = {run.seed: run.test_metric for run in runs if run.test_metric is not None}
    return Sample(role, values, rounding_variance(resolution))


def _outcome(runs: Sequence[TrialRun], interval: Interval | None, metric: str) -> str:
    """``96.1% [95.8, 96.3]``, or ``1 of 5 final runs diverged``; empty if there are no runs."""
    if interval is not None:
        return scale_of(metric).value(interval)
    lost = sum(run.diverged is not None for run in runs)
    how = "diverged or failed" if any(run.failed for run in runs) else "diverged"
    return f"{lost} of {counted(len(runs), 'final run')} {how}"


def _defaults_of(tuned: Candidate, defaults: Candidate) -> str:
    if tuned.contestant == defaults.contestant:
        return "the defaults"
    return f"the defaults of {defaults.contestant}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else typed(value)
