"""Studies that nobody ran: plausible records for tests of what reads them."""

from __future__ import annotations

import math
import random

from adamantine.records import (
    Claim,
    Contestant,
    Decision,
    Difference,
    Divergence,
    Finding,
    Interval,
    Look,
    StudyRecord,
    Survival,
    Trial,
    TrialRun,
    Width,
)

NAMES = ("adam", "sgd", "momentum", "adamw", "rmsprop", "adagrad", "torch:Adam", "adam#2")
LOOKS, STEPS_PER_EPOCH = 4, 90


def study(
    contestants=3,
    seeds=5,
    epochs=5,
    *,
    metric="accuracy",
    direction="max",
    diverged=(1,),
    hopeless=(),
    differences=True,
    claims=True,
    names=NAMES,
    notes=("Final runs of sgd: one diverged.",),
    seed=0,
):
    """A study of so many contestants.

    Parameters
    ----------
    diverged
        Indices of contestants whose last final run diverged.
    hopeless
        Indices of contestants all of whose trials diverged.
    """
    dice = random.Random(seed)
    names = names[:contestants]
    runs, found = [], []
    target = 0.93 if direction == "max" else 0.07
    for index, name in enumerate(names):
        if index in hopeless:
            found.append(_hopeless(name))
            continue
        own = [
            _run(
                dice,
                index,
                name,
                number,
                epochs,
                direction,
                index in diverged and number == seeds - 1,
            )
            for number in range(seeds)
        ]
        runs += own
        found.append(_contestant(dice, index, name, own, epochs, direction, target))
    return StudyRecord(
        plan={
            "workload": "digits",
            "contestants": list(names),
            "seeds": seeds,
            "tuning_seeds": 3,
            "budget": 8,
            "epochs": epochs,
            "batch_size": 64,
            "schedule": "constant",
            "space": {},
            "tune_for": "metric",
            "target": None,
            "tolerance": 0.01,
            "seed": 0,
            "looks": LOOKS,
        },
        metric=metric,
        direction=direction,
        target=target,
        target_source="worst",
        contestants=tuple(found),
        differences=_differences(dice, names) if differences else (),
        verdict=(
            Finding(
                "decision",
                f"Use whichever is cheapest, for instance {names[0].title()}(lr=0.001): between "
                "all of them no difference in accuracy could be shown with 5 seeds.",
            ),
            Finding("speed", f"{names[0]} reaches 93% in 1.2 epochs [1.1, 1.3]."),
            Finding("final", "No difference in final accuracy could be shown with 5 seeds."),
            Finding("caution", "One of 5 final runs of sgd diverged."),
        ),
        claims=(
            Claim("Adam usually converges faster.", "yes", "1.2 epochs against 2.1."),
            Claim("Adam is less sensitive to the rate.", "not shown", "2.1 decades, 1.9."),
        )
        if claims
        else (),
        runs=tuple(runs),
        versions={"python": "3.13.1", "torch": "2.13.0", "adamantine": "0.5.0"},
        machine={"system": "Linux", "processor": "Xeon", "cores": 2, "gpu": None},
        decision=Decision(names[0], names, "adamantine.Adam(model.parameters(), lr=0.001)"),
        command=f"adamantine compare {' '.join(names)} --workload digits",
        started="2026-11-24T15:00:00Z",
        wall_seconds=83.4,
        notes=notes,
    )


def _run(dice, index, name, number, epochs, direction, diverges):
    speed, best = 1.6 - 0.15 * index, 0.975 - 0.004 * index + dice.gauss(0, 0.003)
    pace = 0.0011 + 0.0001 * index + abs(dice.gauss(0, 0.00004))
    looks = []
    for count in range(1, LOOKS * epochs + 1):
        epoch = count / LOOKS
        step = round(epoch * STEPS_PER_EPOCH)
        left = math.exp(-speed * epoch)
        metric = best - 0.7 * left + dice.gauss(0, 0.004)
        loss = 0.05 + 2.2 * left * math.exp(dice.gauss(0, 0.08))
        validation = 0.12 + 2.1 * left * math.exp(dice.gauss(0, 0.08))
        score = metric if direction == "max" else 1 - metric
        looks.append(Look(step, epoch, pace * step, loss, validation, score))
    if diverges:
        looks = [_breaking(look, direction) for look in looks[: len(looks) // 3 or 1]]
    steps = looks[-1].step
    last = looks[-1]
    return TrialRun(
        contestant=name,
        purpose="final",
        settings={"lr": 1e-3},
        seed=1000 + number,
        looks=tuple(looks),
        steps=steps,
        seconds=last.seconds,
        parameters=2410,
        state_bytes=19296,
        test_loss=None if diverges else last.validation_loss,
        test_metric=None if diverges else last.validation_metric,
        diverged=Divergence(steps + 12, math.nan) if diverges else None,
    )


def _breaking(look, direction):
    """What is seen of a run that is about to diverge."""
    loss = 0.8 + 0.9 * look.epoch**2
    metric = 0.5 / (1 + look.epoch)
    score = metric if direction == "max" else 1 - metric
    return Look(look.step, look.epoch, look.seconds, loss, loss, score)


def _contestant(dice, index, name, runs, epochs, direction, target):
    centre = (1e-3, 1e-1, 3e-2)[index % 3]
    trials = []
    for decade in (-3, -2, -1, 0, 0.5, 1, 1.5, 2):
        scores = tuple(
            0.97 - 0.004 * index - 0.04 * decade**2 + dice.gauss(0, 0.004) for _ in range(3)
        )
        if direction == "min":
            scores = tuple(1 - score for score in scores)
        if decade == 2:
            scores = (scores[0], None, None)
        mean = None if None in scores else sum(scores) / 3
        lr = centre * 10**decade
        trials.append(Trial({"lr": lr}, lr, scores, mean))
    done = [run.test_metric for run in runs if run.test_metric is not None]
    losses = [run.test_loss for run in runs if run.test_loss is not None]
    return Contestant(
        name=name,
        spec=name,
        optimizer=f"adamantine.{name.title()}",
        settings={"lr": centre},
        trials=tuple(trials),
        metric=_interval(done),
        loss=_interval(losses),
        epochs_to_target=_survival(runs, "epoch", epochs, direction, target),
        steps_to_target=_survival(runs, "step", epochs * STEPS_PER_EPOCH, direction, target),
        seconds_to_target=_survival(runs, "seconds", runs[0].seconds, direction, target),
        width=Width(
            Interval(2.0 - 0.2 * index, 1.6 - 0.2 * index, 2.3 - 0.2 * index),
            centre / 10,
            centre * 10 ** (1 - 0.2 * index),
            open_below=index == 1,
            open_above=False,
        ),
        seconds_per_step=0.0011 + 0.0001 * index,
        state_bytes=runs[0].state_bytes,
        parameters=runs[0].parameters,
        diverged=sum(run.diverged is not None for run in runs),
        on_edge="above" if index == 2 else None,
    )


def _hopeless(name):
    trials = tuple(Trial({"lr": lr}, lr, (None,) * 3, None) for lr in (1e-2, 1e-1, 1.0))
    nothing = (None,) * 6
    return Contestant(
        name, name, f"adamantine.{name.title()}", {}, trials, *nothing, math.nan, 0, 0, 0
    )


def _interval(values):
    if not values:
        return None
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = 2.5 * spread / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def _survival(runs, field, end, direction, target):
    times = []
    for run in runs:
        hits = [
            float(getattr(look, field))
            for look in run.looks
            if (look.validation_metric >= target) == (direction == "max")
        ]
        times += hits[:1]
    times.sort()
    moments = sorted(set(times))
    share = [sum(time <= moment for time in times) / len(runs) for moment in moments]
    mean = (sum(times) + end * (len(runs) - len(times))) / len(runs)
    middle = next((time for time, part in zip(moments, share, strict=True) if part >= 0.5), None)
    return Survival(
        reached=len(times),
        runs=len(runs),
        mean=Interval(mean, 0.9 * mean, 1.1 * mean),
        median=middle,
        low=None if middle is None else 0.9 * middle,
        high=None,
        times=tuple(moments),
        share=tuple(share),
        share_low=tuple(max(0.0, part - 0.3) for part in share),
        share_high=tuple(min(1.0, part + 0.3) for part in share),
    )


def _differences(dice, names):
    found = []
    for quantity in ("metric", "epochs_to_target", "lr_width"):
        for first in range(len(names)):
            for second in range(first + 1, len(names)):
                shown = quantity == "epochs_to_target" and first == 0
                value = -0.8 if shown else dice.gauss(0, 0.002)
                half = 0.3 if shown else 0.01
                found.append(
                    Difference(
                        first=names[first],
                        second=names[second],
                        quantity=quantity,
                        difference=Interval(value, value - half, value + half),
                        p=0.0004 if shown else 0.4,
                        p_holm=0.0008 if shown else 1.0,
                        better=names[0] if shown else None,
                        detectable=0.4 if shown else 0.012,
                        seeds_needed=None if shown else 140,
                    )
                )
    return tuple(found)
