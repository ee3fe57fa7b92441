"""What a reader has to know before believing a verdict."""

from collections.abc import Iterator, Sequence

from adamantine.records import Contestant, Finding, TrialRun
from adamantine.study.compare.subject import Subject
from adamantine.study.statistics.wording import counted, listed, lr_text, sentence

NAMED = 3
"""So many diverged runs are named one by one."""


def cautions(study: Subject) -> Iterator[Finding]:
    """Contestants that diverged or whose rate is at an edge, and pairs that were not compared."""
    for contestant in sorted(study.contestants, key=lambda contestant: contestant.name):
        finals = study.finals[contestant.name]
        if text := _diverged(contestant, finals):
            yield Finding("caution", sentence(text))
        if contestant.on_edge is not None:
            yield Finding("caution", sentence(_edge(contestant)))
    for reason, names in _untested(study):
        yield Finding("caution", sentence(f"Not compared: {names} ({reason})"))


def _diverged(contestant: Contestant, finals: Sequence[TrialRun]) -> str:
    if contestant.trials and all(trial.score is None for trial in contestant.trials):
        settings = counted(len(contestant.trials), "setting")
        return f"{contestant.name} diverged with each of its {settings}: it has no final runs"
    lost = [run for run in sorted(finals, key=lambda run: run.seed) if run.diverged]
    if not lost:
        return ""
    where = [_end(run) for run in lost[:NAMED]]
    if len(lost) > NAMED:
        where.append("…")
    return (
        f"{contestant.name} diverged in {len(lost)} of {counted(len(finals), 'final run')}"
        f" ({'; '.join(where)}): its final metric is the mean of the others alone,"
        " and is not compared"
    )


def _end(run: TrialRun) -> str:
    assert run.diverged
    said = f"it failed: {run.failed}" if run.failed else f"loss {run.diverged.loss:g}"
    return f"at step {run.diverged.step:,}, {said}"


def _edge(contestant: Contestant) -> str:
    rates = [trial.lr for trial in contestant.trials]
    end, chosen = ("smallest", min(rates)) if contestant.on_edge == "below" else (
        "largest", max(rates)
    )  # fmt: skip
    return (
        f"The learning rate chosen for {contestant.name}, {lr_text(chosen)}, is the {end} of those"
        " tried: a better one may lie beyond"
    )


def _untested(study: Subject) -> list[tuple[str, str]]:
    """Reasons other than divergence, which has its own sentence, with the pairs they hold for."""
    pairs: dict[str, list[str]] = {}
    for d in study.differences:
        if d.reason and "diverged" not in d.reason:
            names = " and ".join(sorted((d.first, d.second)))
            pairs.setdefault(d.reason, []).append(f"{names} by {QUANTITIES[d.quantity]}")
    return sorted((reason, _pairs(names, study)) for reason, names in pairs.items())


def _pairs(names: list[str], study: Subject) -> str:
    if len(names) == len(study.differences):
        return "any contestants"
    return listed(sorted(names)) if len(names) <= NAMED else counted(len(names), "pair")


QUANTITIES = {
    "metric": "final metric",
    "epochs_to_target": "epochs to the target",
    "lr_width": "learning-rate robustness",
}
