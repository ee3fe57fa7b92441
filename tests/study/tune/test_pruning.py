"""Which trials stop: by Optuna's own rule where its rungs are ours, and by hand where not."""

import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from adamantine.study import TunePlan
from adamantine.study.tune.pruning import Halving, pruner

STEPS = 9
curves = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=STEPS, max_size=STEPS),
    min_size=1,
    max_size=12,
)


def stops(pruner, curves, direction="maximize"):
    """Where each trial stops, one after the other; None for those that do not."""
    study = optuna.create_study(direction=direction, pruner=pruner)
    return [stop(study, curve) for curve in curves]


def stop(study, curve):
    trial = study.ask()
    for step, value in enumerate(curve, 1):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, curve[-1])
    return None


@settings(deadline=None, max_examples=50)
@given(curves, st.sampled_from(["maximize", "minimize"]), st.integers(1, 3), st.integers(2, 4))
def test_where_the_rungs_are_optunas_the_decisions_are(curves, direction, first, reduction):
    ours = stops(Halving(first, reduction, reduction), curves, direction)
    optunas = SuccessiveHalvingPruner(min_resource=first, reduction_factor=reduction)
    assert ours == stops(optunas, curves, direction)


def test_rungs_by_hand():
    """Of two, one goes on; rungs at 1, 3 and 9, or 2 and 6; equals go on together."""
    curves = [[0.5] * STEPS, [0.4] * STEPS, [0.6] * STEPS, [0.6] + [0.1] * 8, [0.5] * STEPS]
    assert stops(Halving(1, 2, 3), curves) == [None, 1, None, 3, 1]
    assert stops(Halving(2, 2, 3), curves) == [None, 2, None, 2, 6]


def test_what_is_not_a_number_stops_and_is_the_worst():
    assert stops(Halving(1, 2, 2), [[0.5] * STEPS, [math.nan] * STEPS, [0.1] * STEPS]) == [
        None,
        1,
        1,
    ]
    assert stops(Halving(1, 2, 2), [[math.nan] * STEPS, [0.1] * STEPS]) == [1, None]


def test_an_interrupted_trial_does_not_compete_with_its_repetition():
    study = optuna.create_study(direction="maximize", pruner=Halving(1, 3, 3))
    assert stop(study, [0.5] * STEPS) is None
    interrupted = study.ask()
    interrupted.report(0.9, 1)
    assert not interrupted.should_prune()
    study.tell(interrupted, state=TrialState.FAIL)
    assert stop(study, [0.9] * STEPS) is None
    assert stop(study, [0.8] * STEPS) == 1


@pytest.mark.parametrize(
    ("changes", "nothing"),
    [({}, False), ({"pruning": False}, True), ({"floor": 5}, True), ({"floor": 4}, False)],
)
def test_a_plan_without_a_rung_stops_nothing(changes, nothing):
    assert isinstance(pruner(TunePlan(("adam",), epochs=5, **changes)), NopPruner) == nothing
