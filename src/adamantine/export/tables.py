"""A record as rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adamantine.records import Difference, StudyRecord, TrialRun, TuneRecord, finite
from adamantine.records.study import Look

Row = tuple[Any, ...]


def tables(record: StudyRecord | TuneRecord) -> dict[str, list[Row]]:
    """The rows of each table, whose columns are :data:`~adamantine.export.columns.TABLES`.

    Parameters
    ----------
    record
        Of a comparison or a search.

    Returns
    -------
    By the tables' names; None stands in empty cells.
    """
    trials = record.trials if isinstance(record, TuneRecord) else ()
    numbered: list[tuple[int | None, TrialRun]] = [(each.number, each.run) for each in trials]
    numbered += [(None, run) for run in record.runs]
    settings: dict[str, tuple[int, TrialRun]] = {}
    for _, run in numbered:
        settings.setdefault(_key(run), (len(settings), run))
    return {
        "runs": [
            _run(number, trial, run, settings[_key(run)][0], record.metric)
            for number, (trial, run) in enumerate(numbered)
        ],
        "looks": [
            (number, *row) for number, (_, run) in enumerate(numbered) for row in _looks(run.looks)
        ],
        "settings": [
            row
            for number, run in settings.values()
            for row in _settings(number, run, _is_chosen(run, record))
        ],
        "pairs": [_pair(each) for each in _differences(record)],
    }


def _key(run: TrialRun) -> str:
    return json.dumps(finite([run.contestant, run.settings, run.training]), sort_keys=True)


def _run(number: int, trial: int | None, run: TrialRun, setting: int, metric: str) -> Row:
    last = run.looks[-1] if run.looks else None
    status = "finished"
    if run.failed:
        status = "failed"
    elif run.diverged:
        status = "diverged"
    elif run.pruned:
        status = "pruned"
    return (
        number,
        run.contestant,
        run.purpose,
        trial,
        setting,
        run.seed,
        status,
        run.steps,
        run.seconds,
        run.parameters,
        run.state_bytes,
        metric,
        last and last.validation_loss,
        last and last.validation_metric,
        run.test_loss,
        run.test_metric,
        run.diverged and run.diverged.step,
        run.failed,
    )


def _looks(looks: Sequence[Look]) -> Iterator[Row]:
    for number, look in enumerate(looks, 1):
        yield (
            number,
            look.step,
            look.epoch,
            look.seconds,
            look.train_loss,
            look.validation_loss,
            look.validation_metric,
        )


def _settings(number: int, run: TrialRun, chosen: bool) -> Iterator[Row]:
    for of, values in (("optimizer", run.settings), ("training", run.training)):
        for name, value in values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            said = json.dumps(finite(value))
            yield (number, run.contestant, chosen, of, name, said, value if is_number else None)


def _is_chosen(run: TrialRun, record: StudyRecord | TuneRecord) -> bool:
    if isinstance(record, StudyRecord):
        own = [each for each in record.contestants if each.name == run.contestant]
        return bool(own) and _same(run.settings, own[0].settings)
    candidate = record.tuned if record.recommended == "tuned" else record.defaults
    return (
        candidate is not None
        and candidate.contestant == run.contestant
        and _same(run.settings, candidate.settings)
        and _same(run.training, candidate.training)
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """JSON made lists of tuples."""
    return bool(finite(one) == finite(other))


def _differences(record: StudyRecord | TuneRecord) -> Sequence[Difference]:
    if isinstance(record, StudyRecord):
        return record.differences
    return () if record.difference is None else (record.difference,)


def _pair(pair: Difference) -> Row:
    found = pair.difference
    return (
        pair.first,
        pair.second,
        pair.quantity,
        found and found.value,
        found and found.low,
        found and found.high,
        pair.p,
        pair.p_holm,
        pair.better,
        pair.detectable,
        pair.seeds_needed,
        pair.reason or None,
    )
