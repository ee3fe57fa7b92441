"""The first sentence of a verdict: what to use, by docs/statistics.md's rules."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import adamantine
from adamantine.records import Divergence
from adamantine.study.settings.calls import call, python_line
from study.made import a_run, contestant, study

STUDIES = 60
EXAMPLES = 360


def finals(name, level, seeds=5, bytes_=800, curve=(0.5, 0.9), spread=0.001):
    return [
        a_run(
            name,
            seed=100 + s,
            curve=curve,
            test=level + spread * np.sin(3 * s + 40 * level),
            state_bytes=bytes_,
        )
        for s in range(seeds)
    ]


def decision(*contestants, **plan):
    found = study(contestants, **plan)
    assert [f.about for f in found.verdict].index("decision") == 0
    return found.decision, found.verdict[0].sentence


ADAM = contestant("adam", finals=finals("adam", 0.82), settings={"betas": [0.9, 0.99]})
SGD = contestant("sgd", finals=finals("sgd", 0.56, bytes_=0), optimizer="torch.optim.SGD")
MOMENTUM = contestant("momentum", finals=finals("momentum", 0.58, bytes_=400))


def test_one_that_is_better_than_all_others():
    found, said = decision(ADAM, SGD, MOMENTUM)
    assert said.startswith("Use Adam(lr=0.1, betas=(0.9, 0.99)): 82.0")
    assert said.endswith("]; momentum and sgd are worse by 24 points and more.")
    assert found.tied == ("adam",)
    assert found.python == "adamantine.Adam(model.parameters(), lr=0.1, betas=(0.9, 0.99))"
    _, said = decision(ADAM, SGD)
    assert "; sgd is worse by 26" in said


def test_among_equals_the_one_with_the_least_state():
    level = 0.82
    adam = contestant("adam", finals=finals("adam", level))
    sgd = contestant("sgd", finals=finals("sgd", level, bytes_=0), optimizer="torch.optim.SGD")
    found, said = decision(adam, sgd, MOMENTUM)
    assert said.startswith(
        "Use whichever is cheapest, torch.optim.SGD(lr=0.1): between adam and sgd no difference in "
        "accuracy could be shown with 5 seeds; sgd needs no state; momentum is worse by 24"
    )
    assert (found.contestant, found.tied) == ("sgd", ("adam", "sgd"))


def test_among_those_of_the_same_state_the_fastest():
    slow = contestant("slow", finals=finals("slow", 0.82, curve=(0.1, 0.2, 0.3, 0.9)))
    fast = contestant("fast", finals=finals("fast", 0.82, curve=(0.1, 0.9, 0.9, 0.9)))
    found, said = decision(slow, fast, target=0.9)
    assert found.contestant == "fast"
    assert said.startswith("Use whichever is fastest, Adam(lr=0.1): between fast and slow no ")
    assert said.endswith("and they need the same state; fast is faster than slow.")
    again = contestant("again", finals=finals("again", 0.82, curve=(0.1, 0.9, 0.9, 0.9)))
    _, said = decision(fast, again, target=0.9)
    assert said.startswith("Use whichever you like, for instance Adam(lr=0.1): between again and ")


def test_how_large_a_difference_may_hide_is_said():
    runs = [
        [a_run(name, seed=s, test=test, state_bytes=bytes_) for s, test in enumerate(tests)]
        for name, tests, bytes_ in (
            ("adam", (0.82, 0.84, 0.83), 800),
            ("sgd", (0.83, 0.82, 0.83), 0),
        )
    ]
    found, said = decision(*(contestant(own[0].contestant, finals=own) for own in runs))
    upper = stats.ttest_rel((0.82, 0.84, 0.83), (0.83, 0.82, 0.83), alternative="less")
    assert found.shortfall == pytest.approx(upper.confidence_interval(0.95).high)
    assert said.endswith(
        "needs no state; this choice is at most 2.9 points worse than the best (95 % confidence)."
    )


def test_what_is_cheap_and_slow_is_said_to_be_slow():
    cheap = contestant("cheap", finals=finals("cheap", 0.82, bytes_=0, curve=(0.1, 0.2, 0.3, 0.9)))
    fast = contestant("fast", finals=finals("fast", 0.82, curve=(0.1, 0.9, 0.9, 0.9)))
    found, said = decision(cheap, fast, target=0.9)
    assert found.contestant == "cheap"
    assert said.endswith("with 5 seeds; cheap needs no state, but fast is faster.")


def test_what_diverged_is_not_recommended():
    lost = replace(SGD.runs[-1], diverged=Divergence(3, float("nan")), test_metric=None)
    fragile = replace(ADAM, name="fragile", runs=(*ADAM.runs[:-1], lost))
    found, said = decision(fragile, SGD)
    assert found.contestant == "sgd"
    assert said.endswith("; fragile diverged.")
    found, said = decision(fragile)
    assert (found.contestant, found.python) == ("", "")
    assert said == "Use none of these: fragile diverged, or ended without accuracy."


def test_with_one_seed_the_best_with_a_warning():
    found, said = decision(
        contestant("adam", finals=finals("adam", 0.82, 1)),
        contestant("sgd", finals=finals("sgd", 0.80, 1, bytes_=0)),
    )
    assert found.contestant == "adam"
    assert said.endswith("the best of one seed, which cannot tell a difference from chance.")
    _, said = decision(ADAM)
    assert said.endswith("; it was compared with nothing.")


def simulated(rng, levels, bytes_):
    """Accuracies over so many examples; a seed has something in common for all contestants."""
    common = 0.004 * rng.normal(size=5)
    return study(
        [
            contestant(
                name,
                finals=[
                    a_run(name, seed=s, test=right / EXAMPLES, state_bytes=size)
                    for s, right in enumerate(
                        rng.binomial(EXAMPLES, np.clip(level + common, 0, 1)).tolist()
                    )
                ],
            )
            for name, level, size in zip("abcdef", levels, bytes_, strict=False)
        ],
        resolution=1 / EXAMPLES,
    )


def test_equals_are_told_apart_in_a_twentieth_of_studies_at_most_else_the_cheapest_is_chosen():
    rng = np.random.default_rng(0)
    other = 0
    for _ in range(STUDIES):
        found = simulated(rng, [0.96] * 3, [800, 400, 0])
        other += found.decision.contestant != "c"
        assert found.decision.contestant in found.decision.tied
    assert other <= stats.binom.ppf(0.999, STUDIES, 0.05)


@pytest.mark.parametrize("gap", [0.005, 0.02])
def test_what_is_recommended_is_seldom_worse_by_more_than_is_said(gap):
    rng = np.random.default_rng(1)
    beyond = 0
    for _ in range(STUDIES):
        found = simulated(rng, [0.96, 0.96, 0.96 - gap], [800, 400, 0]).decision
        lost = gap if found.contestant == "c" else 0.0
        beyond += lost > found.shortfall
    assert beyond <= stats.binom.ppf(0.999, STUDIES, 0.05)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.tuples(st.floats(0.8, 0.98), st.sampled_from([0, 400, 800])), min_size=2, max_size=5
    ),
)
def test_what_is_recommended_is_not_shown_to_be_worse_than_any_other(seed, rows):
    """In no study, whatever the truth is; and nothing cheaper was as good."""
    levels, sizes = zip(*rows, strict=True)
    found = simulated(np.random.default_rng(seed), levels, sizes)
    by_metric = [d for d in found.differences if d.quantity == "metric" and d.better]
    chosen = found.decision.contestant
    assert all(d.better == chosen for d in by_metric if chosen in (d.first, d.second))
    worse = {d.second if d.better == d.first else d.first for d in by_metric}
    size = {c.name: c.state_bytes for c in found.contestants}
    assert set(found.decision.tied) == size.keys() - worse
    assert size[chosen] == min(size[name] for name in found.decision.tied)


@pytest.mark.parametrize(
    ("optimizer", "settings", "called"),
    [
        ("adamantine.Adam", {}, "Adam()"),
        (
            "adamantine.AdamW",
            {"lr": 0.1, "state_dtype": "int8"},
            "AdamW(lr=0.1, state_dtype='int8')",
        ),
        ("torch.optim.SGD", {"lr": 1e-05}, "torch.optim.SGD(lr=1e-05)"),
        ("my.module.Mine", {"nested": [1, [2, None]]}, "my.module.Mine(nested=(1, (2, None)))"),
    ],
)
def test_lines_are_python(optimizer, settings, called):
    assert call(optimizer, settings) == called
    before, _, arguments = called.partition("(")
    name = optimizer.rpartition(".")[0] + "." + before.rpartition(".")[2]
    rest = f", {arguments}" if settings else arguments
    assert python_line(optimizer, settings) == f"{name}(model.parameters(){rest}"


def test_a_line_gives_a_model_to_what_looks_at_its_modules():
    """Of parameters alone, Muon would refuse the biases."""
    line = python_line("adamantine.Muon", {"lr": 0.02})
    assert line == "adamantine.Muon(model, lr=0.02)"
    assert eval(line, {"adamantine": adamantine, "model": nn.Linear(3, 2)}).assigned()
    assert python_line("mine.Muon", {}) == "mine.Muon(model.parameters())"
