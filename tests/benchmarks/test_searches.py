"""The peer of `benchmarks.studies.searches` is random search, and a row counts what was done."""

from dataclasses import replace

import cheap
import pytest
from benchmarks.studies import searches

from adamantine.study import tune
from adamantine.study.runs.conditions import build_context
from adamantine.study.settings.contestants import parse_contestants
from adamantine.study.tune.suggest import Spaces

PLAN = replace(searches.PLAN, trials=6, epochs=2, batch_size=32, seeds=3, looks=1)


def test_the_peer_trains_what_it_draws_to_the_end():
    context = build_context(cheap.workload, PLAN, None)
    spaces = Spaces(parse_contestants(PLAN.contestants), PLAN.space)
    trials = searches.random_search(context, PLAN, spaces)
    assert len({trial.run.settings["lr"] for trial in trials}) == PLAN.trials
    assert all(1e-6 <= trial.run.settings["lr"] <= 1 for trial in trials)
    assert {trial.run.steps for trial in trials} == {2 * 6}  # 180 examples
    assert [trial.run.seed for trial in trials] == [PLAN.seed_of_trial(n) for n in range(6)]


def test_a_row_counts_what_was_done(tmp_path):
    row = searches.repeat(cheap.workload, PLAN, tmp_path)
    found = tune(cheap.workload, PLAN, out=tmp_path)  # what it left there
    finals = [run for run in found.runs if run.purpose == "final" and run.settings]
    assert row.found == [run.test_metric for run in finals]
    assert len(row.found) == len(row.plain) == PLAN.seeds
    trained = sum(trial.run.steps for trial in found.trials)
    after = (len(found.candidates) * 3 + 2 * PLAN.seeds) * 12
    assert row.steps == trained / (6 * 12)
    assert row.all_steps == (trained + after) / (6 * 12 + after)
    mean, _, difference, *shares = row.cells()
    assert mean == f"{sum(row.found) / 3:.2%}"
    centre = 100 * (sum(row.found) - sum(row.plain)) / 3
    assert float(difference.partition(" ")[0]) == pytest.approx(centre, abs=0.005)
    assert shares[0] == f"{row.steps:.0%}"
