"""Contestants of other packages, those with modes of their own among them."""

from __future__ import annotations

import cheap
import pytest
import torch

from adamantine.study import Plan, compare
from adamantine.study.settings.contestants import parse_contestant
from adamantine.study.trace import follow
from adamantine.workloads.surfaces import SURFACES

schedulefree = pytest.importorskip("schedulefree")
pytest.importorskip("pytorch_optimizer")

PACKAGES = [
    "schedulefree:AdamWScheduleFree:lr=0.05,warmup_steps=3",
    "schedulefree:SGDScheduleFree:lr=1.5",
    "schedulefree:RAdamScheduleFree",
    "pytorch_optimizer:Lion:lr=0.01",
    "pytorch_optimizer:AdEMAMix:alpha=2",
    "pytorch_optimizer:Adan:betas=(0.98,0.92,0.99)",
]


@pytest.mark.parametrize("spec", PACKAGES)
def test_a_class_of_another_package_is_a_contestant(spec: str) -> None:
    found = parse_contestant(spec)
    module, name, *_ = spec.split(":")
    assert found.optimizer == f"{module}.{name}"
    assert found.source  # so that another version of the package is another contestant


def test_theirs_trains_and_is_evaluated_in_its_modes() -> None:
    """In runs that look at validation data in the middle of an epoch, as ours does."""
    specs = ("schedulefree:AdamWScheduleFree:lr=0.05", "adamwschedulefree:lr=0.05")
    plan = Plan(specs, seeds=2, budget=1, tuning_seeds=1, epochs=3, batch_size=32, looks=2)
    study = compare(cheap.workload, plan)
    losses = {
        name: [
            look.validation_loss
            for run in study.runs
            if run.contestant == name
            for look in run.looks
        ]
        for name in (each.name for each in study.contestants)
    }
    theirs, ours = losses.values()
    assert len(theirs) == 3 * 3 * 2
    assert theirs == pytest.approx(ours, rel=1e-4)


def test_a_path_is_that_of_what_would_be_evaluated() -> None:
    surface = SURFACES["ravine"]
    paths = []
    for spec in ("schedulefree:SGDScheduleFree:lr=0.05", "sgdschedulefree:lr=0.05"):
        contestant = parse_contestant(spec)
        start = torch.tensor(surface.start, dtype=torch.float64)
        points = follow(surface.value, start, lambda p, c=contestant: c.build([p], {}), 20)
        paths.append(torch.tensor(points))
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-5, atol=1e-6)
