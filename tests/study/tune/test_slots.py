"""Trials as slots: whatever processes do and whenever they die, each slot is filled once."""

from collections import Counter

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from adamantine.study import TunePlan
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.tune.search import Search
from adamantine.study.tune.suggest import Spaces
from adamantine.study.tune.trials.slots import PLAN, RESULTS, SLOT, Slots
from adamantine.study.tune.trials.storage import open_storage, quietly

COUNT = 5
STARTS = [{"x": 0.125}]


@pytest.fixture(autouse=True)
def _quiet():
    with quietly():
        yield


def opened(path, count=COUNT):
    """As another process would see them."""
    study = optuna.create_study(storage=open_storage(path), study_name="one", load_if_exists=True)
    return Slots(study, count, STARTS)


def finish(slots, trial):
    drawn = trial.suggest_float("x", 0, 1)
    assert [drawn] == [start["x"] for start in STARTS] or trial.user_attrs[SLOT] > 0
    slots.study.tell(trial, 1.0)


def filled(slots):
    trials = slots.study.get_trials(deepcopy=False)
    return Counter(trial.user_attrs[SLOT] for trial in trials if trial.state in RESULTS)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_every_slot_is_filled_once(tmp_path_factory, data):
    """Three processes in any order: claim, finish, die, see that another has died, queue again."""
    path = tmp_path_factory.mktemp("slots") / "journal"
    everyone = [opened(path) for _ in range(3)]
    running = [[] for _ in everyone]
    steps = st.tuples(st.integers(0, 2), st.sampled_from(["claim", "finish", "die", "refill"]))
    for who, what in data.draw(st.lists(steps, max_size=40)):
        slots, mine = everyone[who], running[who]
        if what == "claim" and (trial := slots.claim()) is not None:
            mine.append(trial)
        elif what == "finish" and mine:
            finish(slots, mine.pop())
        elif what == "die" and mine:
            everyone[(who + 1) % 3].fail(mine.pop())
        elif what == "refill":
            slots.refill()
    for slots, mine in zip(everyone, running, strict=True):
        for trial in mine:
            slots.fail(trial)
    last = everyone[0]
    last.refill()
    while (trial := last.claim()) is not None:
        finish(last, trial)
    assert last.finished
    assert filled(last) == Counter(range(COUNT))
    assert sorted(last.results()) == list(range(COUNT))


def test_only_one_gets_a_trial_that_two_ask_for(tmp_path, monkeypatch):
    """The second comes between the first one's look at what is waiting and its claim."""
    first, second = (opened(tmp_path / "journal", 1) for _ in range(2))
    first.refill()
    got = []
    look = first.live

    def slowly():
        seen = look()
        got.append(second.claim())
        return seen

    monkeypatch.setattr(first, "live", slowly)
    assert first.claim() is None
    monkeypatch.undo()
    assert got[0] is not None
    finish(second, got[0])
    assert first.finished
    assert filled(first) == {0: 1}


def test_a_slot_that_two_queued_is_run_once(tmp_path, monkeypatch):
    first, second = (opened(tmp_path / "journal", 1) for _ in range(2))
    empty = first.attempts()
    second.refill()
    monkeypatch.setattr(first, "attempts", lambda: empty)
    first.refill()  # it has not seen that the other was faster
    monkeypatch.undo()
    assert [len(attempts) for attempts in first.attempts().values()] == [2]
    finish(second, second.claim())
    assert first.claim() is None
    assert filled(first) == {0: 1}


def test_a_result_that_comes_too_late_does_not_count(tmp_path):
    first, second = (opened(tmp_path / "journal", 1) for _ in range(2))
    first.refill()
    slow = first.claim()
    slow.suggest_float("x", 0, 1)
    second.fail(slow)  # it takes the first one for dead
    second.refill()
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        slow.set_user_attr("run", {})
    first.study.tell(slow, 1.0, skip_if_finished=True)
    again = second.claim()
    assert again.suggest_float("x", 0, 1) == slow.params["x"]
    second.study.tell(again, 2.0)
    assert [trial.value for trial in first.results().values()] == [2.0]


def test_two_who_begin_at_once_agree(tmp_path, monkeypatch):
    first, second = (opened(tmp_path / "journal") for _ in range(2))
    enqueue = first.study.enqueue_trial

    def late(*arguments):
        monkeypatch.undo()
        assert second.agree({"epochs": 2}) == {"epochs": 2}
        enqueue(*arguments)

    monkeypatch.setattr(first.study, "enqueue_trial", late)
    assert first.agree({"epochs": 5}) == {"epochs": 2}
    first.refill()
    while (trial := first.claim()) is not None:
        finish(first, trial)
    assert filled(first) == Counter(range(COUNT))
    assert first.study.get_trials()[0].user_attrs[PLAN] == {"epochs": 2}


def test_a_start_that_was_cut_short_is_drawn_to_its_end(tmp_path):
    study = optuna.create_study(storage=open_storage(tmp_path / "journal"))
    slots = Slots(study, 1, [{"x": 0.5, "y": 0.25}])
    slots.agree({})
    trial = slots.claim()
    assert trial.suggest_float("x", 0, 1) == 0.5
    slots.fail(trial)
    slots.refill()
    again = slots.claim()
    assert (again.suggest_float("x", 0, 1), again.suggest_float("y", 0, 1)) == (0.5, 0.25)


def test_what_one_with_another_plan_has_queued_is_passed_over(tmp_path):
    """Two begin at once with two plans: the second one is refused, and its trial stays."""
    slots = opened(tmp_path / "journal")
    slots.agree({"epochs": 2})
    slots.study.enqueue_trial({"x": 0.75}, {SLOT: 0, PLAN: {"epochs": 5}})
    slots.fail(slots.claim())
    slots.refill()
    finish(slots, slots.claim())  # which looks at what it draws


def test_more_trials_are_more_slots(tmp_path):
    few, many = (opened(tmp_path / "journal", count) for count in (2, 4))
    few.refill()
    many.refill()
    while (trial := few.claim()) is not None:
        finish(few, trial)
    assert few.finished
    assert filled(few) == Counter(range(2))
    assert not many.finished
    while (trial := many.claim()) is not None:
        finish(many, trial)
    assert sorted(few.results()) == sorted(many.results()) == list(range(4))


def test_what_it_knows_of_optunas_inside_is_there(tmp_path):
    """An attribute that is only set would be missed by nobody if Optuna called it otherwise."""
    slots = opened(tmp_path / "journal", 1)
    slots.study.ask()
    assert hasattr(slots.study._thread_local, "cached_all_trials")


def test_a_trial_that_is_taken_away_while_it_is_drawn_is_another_ones(tmp_path, monkeypatch):
    plan = TunePlan(("adam",), trials=2, sampler="random")
    spaces = Spaces(parse_contestants(plan.contestants), ())
    search = Search(tmp_path / "journal", "one", plan, spaces, {}, "max")
    suggest = spaces.suggest

    def slowly(trial):
        monkeypatch.undo()
        search._slots.fail(trial)  # somebody else thinks that this process is gone
        search._slots.refill()
        return suggest(trial)

    monkeypatch.setattr(spaces, "suggest", slowly)
    tasks = [search.next_task() for _ in range(3)]
    assert tasks[2] is None
    assert len(search._slots.attempts()[0]) == 2
    assert [task.seed for task in tasks[:2]] == [plan.seed_of_trial(0), plan.seed_of_trial(1)]
    search.close()


def test_a_trial_that_is_interrupted_while_it_is_drawn_goes_back(tmp_path, monkeypatch):
    plan = TunePlan(("adam",), trials=1, sampler="random")
    spaces = Spaces(parse_contestants(plan.contestants), ())
    search = Search(tmp_path / "journal", "one", plan, spaces, {}, "max")

    def interrupted(trial):
        raise KeyboardInterrupt

    monkeypatch.setattr(spaces, "suggest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.next_task()
    search.close()
    assert opened(tmp_path / "journal", 1).live()[0].state == TrialState.WAITING


def test_a_trial_of_others_is_left_alone(tmp_path):
    slots = opened(tmp_path / "journal", 1)
    strange = slots.study.ask()
    slots.refill()
    finish(slots, slots.claim())
    assert slots.finished
    assert slots.study.get_trials()[strange.number].state == TrialState.RUNNING
