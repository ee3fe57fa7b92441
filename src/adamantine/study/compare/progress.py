"""How far a contestant has come: which settings it tries next, and when it is judged."""

from collections.abc import Mapping
from typing import Any, Literal

from adamantine.records import Trial, TrialRun
from adamantine.study.compare.plan import Plan
from adamantine.study.compare.search_strategy import next_trials
from adamantine.study.runs.journal import Journal
from adamantine.study.runs.tasks import Task
from adamantine.study.settings.contestants import Contestant
from adamantine.study.settings.space import Space
from adamantine.study.statistics.trials import Direction, choose, score_direction, trial_of


class Progress:
    """One contestant on its way through a comparison.

    What it does next follows from the runs that are done alone, not from their order or from
    what the others do: so a comparison that is interrupted and goes on is the same.

    Parameters
    ----------
    direction
        Whether more or less of the workload's metric is better.
    """

    def __init__(
        self,
        contestant: Contestant,
        space: Space,
        plan: Plan,
        journal: Journal,
        direction: Direction,
    ) -> None:
        self.contestant, self.space, self.plan = contestant, space, plan
        self.metric_direction = direction
        self.journal = journal
        self.trials: list[Trial] = []
        self.chosen: Trial | None = None
        self.keys: list[str] = []
        """Of all tasks so far, in their order."""
        self.done = False
        self.reused: list[TrialRun] = []
        """Of its tasks, those whose runs were known when they were planned."""
        self._round: list[Mapping[str, Any]] = []
        self._waits_for: set[str] = set()

    def next_tasks(self) -> list[Task]:
        """Tasks to begin now; empty while it waits for those it gave before, and at the end.

        Tasks whose runs are in the journal already are passed over.
        """
        self._waits_for = {key for key in self._waits_for if key not in self.journal}
        while not self._waits_for and not self.done:
            tasks = {task.key: task for task in self._next_stage()}
            self.keys += tasks
            new = {key: task for key, task in tasks.items() if key not in self.journal}
            self.reused += [self.journal[key] for key in tasks if key not in new]
            if new:
                self._waits_for = set(new)
                return list(new.values())
        return []

    @property
    def tried(self) -> list[tuple[Mapping[str, Any], float]]:
        """The settings that were tried, and their learning rates."""
        return [(trial.settings, trial.lr) for trial in self.trials]

    def runs(self) -> tuple[TrialRun, ...]:
        """All of its runs, in the order they were planned."""
        return tuple(self.journal[key] for key in self.keys)

    def _next_stage(self) -> list[Task]:
        if self.chosen is not None:
            self.done = True
            return []
        self.trials += [self._judged(settings) for settings in self._round]
        self._round = list(
            next_trials(
                self.contestant,
                self.space,
                self.plan.budget,
                self.trials,
                score_direction(self.plan.tune_for, self.metric_direction),
                self.plan.seed,
            )
        )
        if self._round:
            return [task for settings in self._round for task in self._tuning(settings)]
        self.chosen = choose(self.trials, self.plan.tune_for, self.metric_direction)
        self.done = self.chosen is None
        return self._finals(self.chosen.settings) if self.chosen else []

    def _judged(self, settings: Mapping[str, Any]) -> Trial:
        runs = [self.journal[task.key] for task in self._tuning(settings)]
        lr = float(settings.get("lr", self.contestant.default_lr))
        return trial_of(settings, lr, runs, self.plan.tune_for)

    def _tuning(self, settings: Mapping[str, Any]) -> list[Task]:
        return [self._task("tune", settings, seed) for seed in self.plan.seeds_of_tuning]

    def _finals(self, settings: Mapping[str, Any]) -> list[Task]:
        return [self._task("final", settings, seed) for seed in self.plan.seeds_of_finals]

    def _task(
        self, purpose: Literal["tune", "final"], settings: Mapping[str, Any], seed: int
    ) -> Task:
        return Task(self.contestant.name, self.contestant.spec, purpose, settings, seed)
