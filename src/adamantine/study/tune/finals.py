"""After a search: its best settings and the defaults, rechecked, and then the finals.

The best of many noisy scores is too good by its noise alone. So the best few settings, and each
contestant's defaults, are trained again on validation seeds that the search has not seen; these
scores alone decide which setting and which defaults go on. The two are then trained on the
finals' seeds, and only these runs see the test set, once each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adamantine.records import Candidate, SearchTrial, TrialRun
from adamantine.study.runs.tasks import Task
from adamantine.study.settings.contestants import Contestant
from adamantine.study.statistics.trials import choose, trial_of
from adamantine.study.tune.plan import TunePlan
from adamantine.study.tune.search import ranked

Direction = Literal["max", "min"]
RECHECKED = 3
"""Settings that the search ends with."""
RECHECKS = 3
"""Fresh validation seeds that each of them, and each contestant's defaults, is trained on."""


@dataclass(frozen=True)
class Entry:
    """A setting that is trained again."""

    role: Literal["found", "defaults"]
    contestant: Contestant
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    score: float | None = None

    def tasks(self, purpose: Literal["tune", "final"], seeds: Iterable[int]) -> list[Task]:
        """Its runs."""
        own = self.contestant
        return [
            Task(own.name, own.spec, purpose, self.settings, seed, self.training) for seed in seeds
        ]


def entries(
    trials: Sequence[SearchTrial],
    contestants: Mapping[str, Contestant],
    direction: Direction,
    training: Mapping[str, Any],
) -> list[Entry]:
    """The best few settings of a search, the best first, and then all defaults.

    Parameters
    ----------
    training
        The loop's settings where they are not searched. With these, a setting that is a
        contestant's defaults is not compared with itself.
    """
    found: dict[str, Entry] = {}
    for trial in ranked(trials, direction):
        run, contestant = trial.run, contestants[trial.run.contestant]
        whole = contestant.with_values(run.settings)  # JSON made lists of tuples
        settings = {name: whole[name] for name in run.settings}
        own = {**contestant.defaults(), **contestant.settings}
        if _changes_nothing(settings, own) and _changes_nothing(run.training, training):
            continue
        entry = Entry("found", contestant, settings, run.training, trial.score)
        found.setdefault(entry.tasks("tune", [0])[0].key, entry)
        if len(found) == RECHECKED:
            break
    return [*found.values(), *(Entry("defaults", each, {}, {}) for each in contestants.values())]


def _changes_nothing(settings: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
    return all(name in usual and usual[name] == value for name, value in settings.items())


def rechecks(entry: Entry, plan: TunePlan) -> list[Task]:
    """Its runs on fresh validation seeds."""
    return entry.tasks("tune", [plan.seed + index for index in range(RECHECKS)])


def candidate(entry: Entry, runs: Sequence[TrialRun]) -> Candidate:
    """What the rechecks of an entry came to."""
    trial = trial_of(entry.settings, 0.0, runs, "metric")
    return Candidate(
        entry.role,
        entry.contestant.name,
        entry.settings,
        entry.training,
        entry.score,
        trial.scores,
        trial.score,
    )


def finalists(
    among: Sequence[Entry], runs: Sequence[Sequence[TrialRun]], direction: Direction
) -> tuple[int | None, int]:
    """Which of `among` go to the finals: a setting found, if there is one, and defaults.

    Where every run of the defaults diverged, those of the first contestant stand for them.
    """
    trials = [trial_of(e.settings, 0.0, own, "metric") for e, own in zip(among, runs, strict=True)]

    def best(role: str) -> int | None:
        own = [index for index, entry in enumerate(among) if entry.role == role]
        chosen = choose([trials[index] for index in own], "metric", direction)
        return next((index for index in own if trials[index] is chosen), None)

    first = next(index for index, entry in enumerate(among) if entry.role == "defaults")
    defaults = best("defaults")
    return best("found"), first if defaults is None else defaults
