"""A search's trials as numbered slots in Optuna's storage, each of which is filled once.

Any number of processes on any number of machines take part, with nothing in common but the
storage. It guarantees two things: trials have a total order that all see alike, and only one of
several who want to change a waiting trial to a running one, or a running one to a finished one,
succeeds. The rest follows from how trials are read:

- A trial belongs to a slot, 0 to n - 1. A slot's trials are *attempts* at it, in their order.
- The first attempt that has not failed is the slot's *live* one; only it is ever run, and only
  its result counts. Since a failed trial stays failed and new ones come last, the live attempt
  stays the same for everybody until it fails.
- An attempt fails when its process is interrupted or gone. A slot whose attempts have all failed
  gets a new one, with the same parameters. If two processes both see to that, the second
  attempt is not live, and is passed over.

So a slot never has two results, and none is left without one; nobody needs to count.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

SLOT = "slot"
PLAN = "plan"
RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)


class Slots:
    """The slots of an Optuna study.

    Parameters
    ----------
    count
        How many this process is at. Somebody else may be at more of them, or have been: what has
        a result there is used, and the rest is left to them.
    starts
        What the first slots draw; the sampler draws what they leave out.
    """

    def __init__(self, study: Study, count: int, starts: Sequence[Mapping[str, Any]] = ()) -> None:
        self.study, self._count, self._starts = study, count, starts

    def agree(self, plan: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The plan that the search was begun with: `plan`, if nobody was here before.

        Of two who begin at once, all see the same one as the first: it is written on the first
        trial. None if that trial is not one of ours.
        """
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(self._start(0), {SLOT: 0, PLAN: dict(plan)})
        first: Mapping[str, Any] | None = self.study.get_trials(deepcopy=False)[0].user_attrs.get(
            PLAN
        )
        return first

    def attempts(self) -> dict[int, list[FrozenTrial]]:
        """Each slot's trials, the first one first.

        But for those of a process that began at the same time with another plan, and was refused.
        """
        found: dict[int, list[FrozenTrial]] = defaultdict(list)
        trials = self.study.get_trials(deepcopy=False)
        plan = trials[0].user_attrs.get(PLAN) if trials else None
        for trial in trials:
            if SLOT in trial.user_attrs and trial.user_attrs.get(PLAN, plan) == plan:
                found[trial.user_attrs[SLOT]].append(trial)
        return found

    def live(self) -> dict[int, FrozenTrial]:
        """Each slot's live attempt, in the order of slots."""
        return _live(self.attempts())

    def refill(self) -> None:
        """Queue every slot that has no live attempt; what an attempt had drawn, it draws again."""
        attempts = self.attempts()
        live = _live(attempts)
        for slot in range(self._count):
            if slot not in live:
                drawn = [trial.params for trial in attempts.get(slot, []) if trial.params]
                params = {**self._start(slot), **(drawn[-1] if drawn else {})}
                self.study.enqueue_trial(params, {SLOT: slot})

    def _start(self, slot: int) -> dict[str, Any]:
        return dict(self._starts[slot]) if slot < len(self._starts) else {}

    def claim(self) -> Trial | None:
        """The first slot's live attempt that is waiting, which nobody else runs from now on.

        None if none is waiting. Not ``study.ask``: it takes waiting trials in the order in which
        they were queued, so that what a search finds would depend on its interruptions, and makes
        new ones where none is left.
        """
        storage = self.study._storage
        for slot, trial in self.live().items():
            if trial.state != TrialState.WAITING or slot >= self._count:
                continue
            try:
                ours = storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            except UpdateFinishedTrialError:  # somebody else was faster by far
                continue
            if ours:
                self.study._thread_local.cached_all_trials = None  # samplers see what is there now
                return Trial(self.study, trial._trial_id)
        return None

    def fail(self, trial: Trial | FrozenTrial) -> None:
        """An attempt will have no result, unless it has one already."""
        try:
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        except UpdateFinishedTrialError:  # between the look and the tell
            return

    def results(self) -> dict[int, FrozenTrial]:
        """The attempts that have a result, by slot."""
        return {slot: trial for slot, trial in self.live().items() if trial.state in RESULTS}

    @property
    def finished(self) -> bool:
        """Whether every slot has its result."""
        results = self.results()
        return all(slot in results for slot in range(self._count))


def _live(attempts: Mapping[int, Sequence[FrozenTrial]]) -> dict[int, FrozenTrial]:
    alive = {}
    for slot, trials in sorted(attempts.items()):
        first = next((trial for trial in trials if trial.state != TrialState.FAIL), None)
        if first is not None:
            alive[slot] = first
    return alive
