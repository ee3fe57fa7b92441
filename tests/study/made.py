"""Studies made up for the tests of their statistics: no training, known truth."""

import math

from adamantine.records import Divergence, Look, TrialRun
from adamantine.study.compare.analysis import Analysis, ContestantRuns, analyse

EPOCHS, LOOKS, STEPS = 5, 4, 100


def a_run(
    name="adam",
    *,
    purpose="final",
    settings=None,
    seed=0,
    curve=(0.5, 0.9),
    test=0.9,
    diverged=None,
    pace=0.01,
    state_bytes=800,
):
    """A run whose validation metric follows `curve`, evenly spaced over the budget."""
    looks = []
    for index, value in enumerate(curve, 1):
        share = index / len(curve)
        step = round(STEPS * share)
        looks.append(Look(step, EPOCHS * share, pace * step, 1 - value, 1 - value, value))
    steps = STEPS if diverged is None else diverged
    return TrialRun(
        name,
        purpose,
        {"lr": 0.1} if settings is None else settings,
        seed,
        tuple(look for look in looks if look.step <= steps),
        steps,
        pace * steps,
        100,
        state_bytes,
        test_loss=None if diverged else 1 - test,
        test_metric=None if diverged else test,
        diverged=None if diverged is None else Divergence(diverged, math.nan),
    )


def contestant(
    name,
    *,
    finals,
    tuned=((0.01, (0.7, 0.7, 0.7)), (0.1, (0.9, 0.9, 0.9)), (1.0, (0.5, 0.5, 0.5))),
    optimizer="adamantine.Adam",
    settings=None,
):
    """`finals` are runs; `tuned` are learning rates with a score a seed, None where diverged."""
    settings = settings or {}
    runs, tried = [], []
    for lr, scores in tuned:
        given = {"lr": lr, **settings}
        tried.append((given, lr))
        for seed, score in enumerate(scores):
            known = score is not None
            runs.append(
                a_run(
                    name,
                    purpose="tune",
                    settings=given,
                    seed=seed,
                    curve=(score if known else 0.1,),
                    diverged=None if known else 50,
                )
            )
    return ContestantRuns(name, name, optimizer, tried, (*runs, *finals))


def study(contestants, metric="accuracy", direction="max", resolution=0.0, **plan) -> Analysis:
    return analyse({"epochs": EPOCHS, **plan}, metric, direction, contestants, resolution)
