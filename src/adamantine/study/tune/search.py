"""One process's part in a search: it claims trials, reports how they go, and says what came out."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from adamantine.errors import CheckpointError
from adamantine.records import Look, SearchTrial, TrialRun, finite
from adamantine.records.fields import from_json, to_json
from adamantine.study.runs.tasks import Task, key_of
from adamantine.study.tune.importance import importances
from adamantine.study.tune.plan import TunePlan
from adamantine.study.tune.pruning import pruner
from adamantine.study.tune.samplers import PerSlot
from adamantine.study.tune.suggest import Setting, Spaces
from adamantine.study.tune.trials.heartbeat import Heartbeat
from adamantine.study.tune.trials.slots import SLOT, Slots
from adamantine.study.tune.trials.storage import close_storage, open_storage, shown
from adamantine.train.config import differences

RUN, SETTING = "run", "setting"
SECONDS_BETWEEN_BEATS = 5.0
HOPELESS = 1e100
"""Metrics beyond it are told to Optuna as this: it takes squares and their sums."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that somebody is at."""

    number: int
    setting: Setting
    looks: tuple[float, ...]
    """Validation metrics so far."""


@dataclass(frozen=True)
class SearchProgress:
    """How far a search has come, in all processes together."""

    total: int
    done: tuple[SearchTrial, ...]
    running: tuple[RunningTrial, ...]


class Search:
    """A search in a storage that others may be at, too.

    Parameters
    ----------
    storage
        See :func:`~adamantine.study.tune.trials.storage.open_storage`.
    name
        Of the study in it.
    agreed
        What decides the search, as JSON; all who take part have to say the same.
    direction
        Of the metric.

    Raises
    ------
    CheckpointError
        The study of that name is another search's, or none of ours.
    """

    def __init__(
        self,
        storage: str | Path | None,
        name: str,
        plan: TunePlan,
        spaces: Spaces,
        agreed: Mapping[str, Any],
        direction: Literal["max", "min"],
    ) -> None:
        self._plan, self._spaces, self._direction = plan, spaces, direction
        self._worst = -math.inf if direction == "max" else math.inf
        opened = self._storage = open_storage(storage)
        self._study = optuna.create_study(
            storage=opened,
            study_name=name,
            direction="maximize" if direction == "max" else "minimize",
            sampler=PerSlot(plan.sampler, plan.seed),
            pruner=pruner(plan),
            load_if_exists=True,
        )
        self._slots = Slots(self._study, plan.trials, spaces.starts(plan.training))
        _check_agreed(self._slots.agree(finite(agreed)), finite(agreed), name, storage)
        folder = storage.parent if isinstance(storage, Path) else None
        self._heartbeat = Heartbeat(self._slots, opened, folder)
        self._mine: dict[str, Trial] = {}
        self._drawing: Trial | None = None
        self._reported: dict[str, set[int]] = {}
        self._done: dict[int, SearchTrial] = {}
        self._next_beat = 0.0

    @property
    def finished(self) -> bool:
        """Whether every trial has its result, whoever it is from."""
        return self._slots.finished

    def next_task(self) -> Task | None:
        """The run of a trial that is now this process's to do; None if there is none left."""
        self.keep_up()
        while (trial := self._slots.claim()) is not None:
            self._drawing = trial  # goes back to the queue if drawing is interrupted
            with suppress(UpdateFinishedTrialError):  # it was taken away meanwhile
                self._heartbeat.sign(trial)
                setting = self._spaces.suggest(trial)
                trial.set_user_attr(SETTING, to_json(setting))
                task = Task(
                    setting.contestant,
                    self._spaces.contestants[setting.contestant].spec,
                    "tune",
                    setting.settings,
                    self._plan.seed_of_trial(trial.user_attrs[SLOT]),
                    setting.training,
                )
                self._mine[task.key], self._drawing = trial, None
                self._reported[task.key] = set()
                return task
        return None

    def on_look(self, task: Task, look: Look) -> bool:
        """Report a look at a trial's run; true if it shall stop there."""
        self.keep_up()
        trial = self._mine.get(task.key)
        if trial is None:  # none of the search's
            return False
        number = math.floor(look.epoch * self._plan.looks + 1e-9)
        reported = self._reported[task.key]
        if number in reported:  # its worker died, and the run is being done again
            return False
        reported.add(number)
        try:
            trial.report(_in_reach(look.validation_metric), number)
            return look.epoch < self._plan.epochs and trial.should_prune()
        except UpdateFinishedTrialError:  # taken away: no result of it would count
            return True

    def tell(self, run: TrialRun) -> None:
        """Take down what came out of a trial's run; nothing, if it was taken away meanwhile."""
        key = key_of(run)
        trial = self._mine.pop(key)
        del self._reported[key]
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr(RUN, to_json(run))
            if run.pruned:
                self._study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                score = score_of(run)
                value = self._worst if score is None else _in_reach(score)
                self._study.tell(trial, value, skip_if_finished=True)

    def keep_up(self) -> None:
        """Now and then: give a sign of life, and queue again what the dead have left."""
        if monotonic() < self._next_beat:
            return
        self._next_beat = monotonic() + SECONDS_BETWEEN_BEATS
        self._heartbeat.beat(self._mine.values())
        self._heartbeat.fail_the_dead(self._study)
        self._slots.refill()

    def close(self) -> None:
        """Leave the search; trials that this process is at go back to the queue."""
        try:
            unfinished = [*self._mine.values(), *filter(None, [self._drawing])]
            for trial in unfinished:
                self._slots.fail(trial)
            if unfinished:
                self._slots.refill()
        finally:
            self._heartbeat.close()
            close_storage(self._storage)

    def trials(self) -> tuple[SearchTrial, ...]:
        """Those that have a result."""
        results = self._slots.results()
        for slot, trial in results.items():
            if slot not in self._done:
                self._done[slot] = _done(slot, trial)
        return tuple(self._done[slot] for slot in results)

    def importances(self, contestant: str) -> dict[str, float]:
        """Which drawn numbers mattered for one optimizer, and how much."""
        plan = self._plan
        look = plan.floor * plan.looks if plan.pruning and plan.floor < plan.epochs else None
        own = [t for t, done in zip(self._slots.results().values(), self.trials(), strict=True)
               if done.run.contestant == contestant]  # fmt: skip
        return importances(own, look, self._direction)

    def progress(self) -> SearchProgress:
        """How far it has come."""
        live, done = self._slots.live(), self.trials()
        return SearchProgress(
            total=max(self._plan.trials, len(done)),
            done=done,
            running=tuple(
                _running(slot, trial)
                for slot, trial in live.items()
                if trial.state == TrialState.RUNNING and SETTING in trial.user_attrs
            ),
        )


def _check_agreed(
    first: Mapping[str, Any] | None,
    agreed: Mapping[str, Any],
    name: str,
    storage: str | Path | None,
) -> None:
    where = f"study {name!r} in {shown(storage)}"
    if first is None:
        raise CheckpointError(f"{where} is not a search of adamantine; give another --study")
    changed = "; ".join(_in_words(text) for text in differences(first, agreed))
    if changed:
        raise CheckpointError(
            f"{where} is another search: {changed}; give it another --study or --out, or the "
            "options it was begun with"
        )


def _in_words(changed: str) -> str:
    """Sums say nothing to a person."""
    what = changed.partition(" was ")[0]
    if what == "fingerprint":
        return "the data, the model, the loss or the metric has changed"
    if what.startswith("source."):
        return f"the source of {what.removeprefix('source.')} has changed"
    return changed


def _in_reach(metric: float) -> float:
    return min(max(metric, -HOPELESS), HOPELESS) if math.isfinite(metric) else metric


def score_of(run: TrialRun) -> float | None:
    """The validation metric at a run's end; None if it did not get there."""
    if run.diverged or run.pruned or not math.isfinite(run.looks[-1].validation_metric):
        return None
    return run.looks[-1].validation_metric


def _done(slot: int, trial: FrozenTrial) -> SearchTrial:
    run = from_json(TrialRun, trial.user_attrs[RUN], f"trial {slot}")
    return SearchTrial(slot, trial.params, score_of(run), run)


def _running(slot: int, trial: FrozenTrial) -> RunningTrial:
    setting = from_json(Setting, trial.user_attrs[SETTING], f"trial {slot}")
    looks = [value for _, value in sorted(trial.intermediate_values.items())]
    return RunningTrial(slot, setting, tuple(looks))


def ranked(trials: Sequence[SearchTrial], direction: Literal["max", "min"]) -> list[SearchTrial]:
    """Those that have a score, the best one first; of equal ones, by the validation loss."""
    sign = -1.0 if direction == "max" else 1.0

    def rank(trial: SearchTrial) -> tuple[float, float, int]:
        assert trial.score is not None
        return sign * trial.score, trial.run.looks[-1].validation_loss, trial.number

    return sorted((trial for trial in trials if trial.score is not None), key=rank)
