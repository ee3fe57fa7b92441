"""Studies of runs that exploded: no number is too large, and nobody is warned."""

import math
import random
from dataclasses import replace

import cheap
import numpy as np
import pytest
import torch

from adamantine.records import Divergence, EpochRecord, Look, RunRecord, StudyRecord, Trial
from adamantine.records.mean import mean
from adamantine.report import (
    curves_png,
    study_html,
    study_pngs,
    study_rows,
    tune_html,
    tune_pngs,
)
from adamantine.study import Plan, compare, tune
from adamantine.study.compare.analysis import ContestantRuns
from adamantine.study.runs import in_process
from adamantine.study.statistics.robustness import robustness
from adamantine.workloads import ACCURACY, Metric
from study.made import a_run, study
from study.searches import PLAN, pretend

LARGE = (1e18, 3.4e38, 1e149, 1e250, 1.7e308, -1.7e308)
HUGE = (0.5, 0.7, 1e-300, *LARGE, math.inf, -math.inf, math.nan)


def exploded(seed):
    """A study whose numbers are drawn from a few of :data:`HUGE`."""
    dice = random.Random(seed)
    pool = HUGE if seed % 3 else dice.sample(HUGE, 3)
    draw = lambda: dice.choice(pool)

    def run(name, purpose, seed, lr):
        looks = tuple(Look(10 * k, k, 0.1 * k, draw(), draw(), draw()) for k in range(1, 5))
        is_lost = dice.random() < 0.2
        scores = dict.fromkeys(("test_loss", "test_metric"))
        if purpose == "final" and not is_lost:
            scores = {name: draw() for name in scores}
        return replace(
            a_run(name, purpose=purpose, seed=seed, settings={"lr": lr}),
            looks=looks[: dice.randint(0, 3)] if is_lost else looks,
            diverged=Divergence(13, math.nan) if is_lost else None,
            **scores,
        )

    contestants = []
    for name in "abc"[: dice.randint(1, 3)]:
        tried = [({"lr": lr}, lr) for lr in (0.01, 0.1, 1.0)]
        tuning = [run(name, "tune", s, lr) for _, lr in tried for s in range(3)]
        finals = [run(name, "final", 100 + s, 0.1) for s in range(3)]
        contestants.append(ContestantRuns(name, name, "torch.optim.SGD", tried, (*tuning, *finals)))
    tune_for = dice.choice(["metric", "loss", "train-loss"])
    direction = dice.choice(["max", "min"])
    found = study(contestants, metric="mse", direction=direction, tune_for=tune_for)
    runs = tuple(run for each in contestants for run in each.runs)
    return StudyRecord({}, "mse", direction, runs=runs, versions={}, machine={}, **vars(found))


def test_figures_and_reports_of_runs_that_exploded():
    """Warnings are errors in these tests."""
    for seed in range(60):
        record = exploded(seed)
        again = StudyRecord.from_json(record.to_json())
        assert "What to use" in study_html(again)
        assert len(study_rows(again)) == len(record.contestants)


@pytest.mark.parametrize("seed", [4, pytest.param(5, marks=pytest.mark.slow)])
def test_pictures_of_runs_that_exploded(seed):
    assert len(study_pngs(exploded(seed))) >= 3


def test_curves_of_a_run_that_exploded():
    losses = (1.0, 1.7e308, -1.7e308, 1e149)
    epochs = [EpochRecord(n, x, x, x, 1, 1, 0.1, "loss²") for n, x in enumerate(losses, 1)]
    assert curves_png(RunRecord({}, {}, {}, epochs=tuple(epochs))).startswith(b"\x89PNG")


def test_a_mean_whose_sum_is_no_number():
    assert mean([1.5e308, 1.7e308]) == pytest.approx(1.6e308)
    assert mean([1.7e308, -1.7e308]) == 0
    assert mean([0.1] * 10) == 0.1


@pytest.mark.parametrize("size", [1.0, 2.0**1000, 2.0**1022])
def test_a_width_has_no_unit(size):
    """Scores that are twice as large, or 2¹⁰²² times, have the same width to the bit."""

    def width(factor):
        curve = {0.01: (0.7, 0.72), 0.1: (0.9, 0.93), 1.0: (0.88, 0.9), 10.0: (0.1, 0.2)}
        trials = [
            Trial({}, lr, tuple(s * factor for s in scores), float(np.mean(scores)))
            for lr, scores in curve.items()
        ]
        return robustness(trials, "max", 0.05, 0)

    assert width(size) == width(1.0)


@pytest.mark.parametrize("sampler", ["random", pytest.param("gp", marks=pytest.mark.slow)])
def test_a_search_among_scores_that_exploded(monkeypatch, sampler):
    """Optuna takes their squares, and the page lays a surface through them."""
    dice = random.Random(1)
    monkeypatch.setattr(
        in_process, "train_once", pretend(lambda task: dice.choice((0.5, 0.7, *LARGE)))
    )
    space = ("lr=1e-5:1e-1:log", "eps=1e-9:1e-2:log")
    plan = replace(PLAN, trials=26, sampler=sampler, pruning=False, space=space)
    found = tune(cheap.cheap(metric=Metric("mse", ACCURACY.per_example, "min")), plan)
    assert found.importances
    assert "What to use" in tune_html(found)
    assert tune_pngs(found)


@pytest.mark.parametrize("metric", [math.nan, math.inf, 1e300, 1e30])
def test_a_final_metric_that_is_no_number_ends_no_study(metric):
    exploded = Metric("mse", lambda out, y: torch.full((len(y),), metric, dtype=torch.float64))
    plan = Plan(("sgd",), seeds=2, budget=1, tuning_seeds=1, epochs=1)
    assert len(compare(cheap.cheap(metric=exploded), plan).runs) == 1 + 2 * math.isfinite(metric)
