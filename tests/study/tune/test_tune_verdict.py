"""What is recommended where final runs diverge, and the metrics say nothing."""

import math

import pytest

from adamantine.records import Candidate, Divergence, TrialRun
from adamantine.study.tune.verdict import judge

TUNED = Candidate("found", "adam", {"lr": 0.1}, {}, 0.9, (0.9,), 0.9)
DEFAULTS = Candidate("defaults", "adam", {}, {}, None, (0.9,), 0.9)


def finals(seeds, lost):
    return [
        TrialRun(
            "adam", "final", {}, 1000 + seed, (), 2, 0.1, 4, 32,
            test_metric=None if seed < lost else 0.9,
            diverged=Divergence(2, math.nan) if seed < lost else None,
        )
        for seed in range(seeds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "lost", "recommended"),
    [
        (5, 5, "tuned"),
        (5, 4, "tuned"),  # Fisher's exact test: p = 0.048
        (5, 3, "defaults"),  # p = 0.17
        (3, 3, "defaults"),  # p = 0.1
        (1, 1, "defaults"),
        (20, 5, "tuned"),  # p = 0.047
        (20, 4, "defaults"),
    ],
)
def test_defaults_that_diverge_have_to_do_so_more_often_than_by_chance(seeds, lost, recommended):
    runs = {"tuned": finals(seeds, 0), "defaults": finals(seeds, lost)}
    calls = {"tuned": "Adam(lr=0.1)", "defaults": "Adam()"}
    found = judge(TUNED, DEFAULTS, runs, "accuracy", "max", 0.0, calls)
    assert found.recommended == recommended
    decision, final = (finding.sentence for finding in found.verdict)
    said = f"{lost} of {seeds} final run{'s' * (seeds > 1)} diverged"
    assert said in decision
    assert f"{said} at the defaults" in final
    assert ("cannot be told" in decision) == (recommended == "defaults")
    start = "Use Adam(lr=0.1): 90.00% [" if recommended == "tuned" else "Use Adam(), the defaults; "
    assert decision.startswith(start)
