"""The search over learning rates, on curves whose best is known."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamantine.errors import UsageError
from adamantine.records.study import Trial
from adamantine.study.compare.search_strategy import next_trials
from adamantine.study.settings.contestants import Contestant, parse_contestant, parse_contestants
from adamantine.study.settings.space import Choice, Range, Space, parse_space
from adamantine.study.statistics.trials import settings_key

ADAM = parse_contestant("adam")


def search(
    score: Callable[[float], float | None],
    budget: int,
    contestant: Contestant = ADAM,
    direction: str = "max",
    space: Space | None = None,
    seed: int = 0,
) -> tuple[list[float], list[dict[str, Any]]]:
    done: list[Trial] = []
    while new := next_trials(contestant, space or {}, budget, done, direction, seed):
        for settings_ in new:
            lr = settings_["lr"]
            done.append(Trial(settings_, lr, (score(lr),), score(lr)))
    return [trial.lr for trial in done], [dict(trial.settings) for trial in done]


def peak(at: float) -> Callable[[float], float]:
    return lambda lr: -abs(math.log10(lr / at))


@pytest.mark.parametrize(
    ("budget", "rates"),
    [
        (1, [1e-3]),
        (2, [1e-3]),
        (3, [1e-3, 1e-2]),
        (5, [1e-4, 1e-3, 1e-2]),
        (8, [1e-4, 1e-3, 1e-2, 1e-1]),
        (100, [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]),
    ],
)
def test_the_first_round_is_decades_around_the_default(budget: int, rates: list[float]) -> None:
    assert [s["lr"] for s in next_trials(ADAM, {}, budget, [], "max", 0)] == rates


def test_a_budget_of_one_is_what_was_typed() -> None:
    contestant = parse_contestant("adamw:lr=0.02,weight_decay=0.3")
    assert search(peak(1), 1, contestant)[1] == [{"lr": 0.02, "weight_decay": 0.3}]


def test_the_typed_learning_rate_is_the_centre() -> None:
    assert search(peak(1), 4, parse_contestant("adam:lr=0.05"))[0][:2] == [0.05, 0.5]


@pytest.mark.parametrize(
    ("score", "rates"),
    [
        # Beyond the upper edge; then inside, on the side of the better neighbour; the wider gap.
        (peak(0.3), [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 0.316228, 0.177828, 0.562341]),
        (peak(1e-6), [1e-4, 1e-3, 1e-2, 1e-1, 1e-5, 1e-6, 1e-7, 3.16228e-6]),
        (lambda lr: None, [1e-4, 1e-3, 1e-2, 1e-1, 1e-5, 1e-6, 1e-7, 1e-8]),
        (lambda lr: math.nan, [1e-4, 1e-3, 1e-2, 1e-1, 1e-5, 1e-6, 1e-7, 1e-8]),
        # Diverged above 2e-3: the better neighbour is below.
        (
            lambda lr: lr if lr < 2e-3 else None,
            [1e-4, 1e-3, 1e-2, 1e-1, 3.16228e-4, 3.16228e-3, 5.62341e-4, 1.77828e-3],
        ),
        # All the same: the default is the best, and equal gaps are halved upwards.
        (lambda lr: 0.5, [1e-4, 1e-3, 1e-2, 1e-1, 3.16228e-3, 3.16228e-4, 1.77828e-3, 5.62341e-4]),
    ],
)
def test_known_curves(score: Callable[[float], float | None], rates: list[float]) -> None:
    assert search(score, 8)[0] == pytest.approx(rates, rel=1e-5)


@settings(max_examples=40)
@given(st.floats(-6, 1), st.integers(8, 20), st.sampled_from(["max", "min"]))
def test_it_comes_near_the_best_with_the_budget_and_no_setting_twice(
    exponent: float, budget: int, direction: str
) -> None:
    sign = 1 if direction == "max" else -1
    score = lambda lr: sign * peak(10**exponent)(lr)
    rates, _ = search(score, budget, direction=direction)
    assert len(rates) == len(set(rates)) == budget
    assert all(lr == float(f"{lr:.6g}") for lr in rates)
    nearest = min(abs(math.log10(lr) - exponent) for lr in rates)
    # From the default's decades, as many as it takes to get there, then halves.
    assert nearest <= 0.5 or min(rates) < 10**exponent < max(rates)


@pytest.mark.parametrize("budget", [40, 150])
@pytest.mark.parametrize("score", [peak(3e-3), lambda lr: 0.0, lambda lr: lr % 0.37])
def test_a_large_budget_is_used_without_repeating(
    budget: int, score: Callable[[float], float]
) -> None:
    rates, _ = search(score, budget)
    assert len(set(rates)) == budget


def test_some_of_a_round_may_be_done() -> None:
    whole = next_trials(ADAM, {}, 8, [], "max", 0)
    done = [Trial(s, s["lr"], (0.1,), 0.1) for s in whole[:3]]
    assert next_trials(ADAM, {}, 8, done, "max", 0) == whole[3:]


def test_a_learning_rate_space_is_one_even_grid() -> None:
    space = parse_space(["lr=1e-5:1e-1:log"], [ADAM])["adam"]
    assert search(peak(1), 5, space=space)[0] == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert len(next_trials(ADAM, space, 5, [], "max", 0)) == 5
    assert search(peak(1), 1, space=space)[0] == [1e-3]
    linear = parse_space(["lr=0.1:0.5"], [ADAM])["adam"]
    assert search(peak(1), 5, space=linear)[0] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_choices_alone_are_tried_in_all_combinations_and_end() -> None:
    lr = parse_space(["lr=0.1|0.5"], [ADAM])["adam"]
    assert sorted(search(peak(1), 5, space=lr)[0]) == [0.1, 0.5]
    options = {"lr": (0.1, 0.2, 0.3), "eps": (1e-8, 1e-6), "amsgrad": (True, False)}
    space = {name: Choice(values) for name, values in options.items()}
    _, tried = search(peak(1), 50, space=space)
    expected = [
        dict(zip(options, each, strict=True)) for each in itertools.product(*options.values())
    ]
    assert sorted(map(settings_key, tried)) == sorted(map(settings_key, expected))
    # A smaller budget tries the first of them; each option about as often.
    assert search(peak(1), 6, space=space)[1] == tried[:6]
    for name in options:
        counts = Counter(each[name] for each in tried[:6])
        assert set(counts.values()) == {6 // len(options[name])}
    assert search(peak(1), 50, space=space, seed=1)[1] != tried


@pytest.mark.parametrize(
    "sizes", [(2, 2, 4), (4, 2, 2), (3, 5), (6, 4, 3, 2), (2, 2, 2, 2), (9, 6)]
)
def test_combinations_are_complete_and_balanced_from_the_start(sizes: tuple[int, ...]) -> None:
    names = ["lr", "eps", "weight_decay", "rounding_seed"][: len(sizes)]
    space = {
        name: Choice(tuple(range(1, size + 1))) for name, size in zip(names, sizes, strict=True)
    }
    _, tried = search(peak(1), 1000, space=space)
    assert len(set(map(settings_key, tried))) == len(tried) == math.prod(sizes)
    for name, size in zip(names, sizes, strict=True):
        for budget in range(1, 13):
            counts = Counter(each[name] for each in tried[:budget])
            assert max(counts.values()) <= math.ceil(budget / size) + 1


def test_many_choices_are_not_listed_first() -> None:
    space = {name: Choice(tuple(range(1, 1001))) for name in ("lr", "eps", "weight_decay")}
    rates, tried = search(peak(1), 1000, space=space)
    assert sorted(rates) == list(range(1, 1001))
    assert len({each["eps"] for each in tried}) == 1000


def test_a_choice_of_learning_rates_is_drawn_beside_a_range() -> None:
    space = parse_space(["lr=0.1|0.5,eps=1e-9:1e-3:log"], [ADAM])["adam"]
    rates, tried = search(peak(1), 8, space=space)
    assert Counter(rates) == {0.1: 4, 0.5: 4}
    assert len({each["eps"] for each in tried}) == 8
    # Both learning rates come with small and with large values of the other setting.
    assert {(each["lr"], each["eps"] < 1e-6) for each in tried} == {
        (lr, small) for lr in (0.1, 0.5) for small in (True, False)
    }


def test_whole_numbers_that_run_out_end_the_walk() -> None:
    space = {"lr": Choice((0.1, 0.2)), "rounding_seed": Range(0, 2, integer=True)}
    _, tried = search(peak(1), 20, space=space)
    found = sorted((each["lr"], each["rounding_seed"]) for each in tried)
    assert found == [(lr, number) for lr in (0.1, 0.2) for number in (0, 1, 2)]


def few(*options: Any) -> st.SearchStrategy[Choice]:
    return st.permutations(options).flatmap(
        lambda order: st.integers(2, len(order)).map(lambda count: Choice(tuple(order[:count])))
    )


SPACES = st.fixed_dictionaries(
    {},
    optional={
        "lr": few(0.1, 0.01, 1)
        | st.just(Range(1e-4, 1e-1, log=True))
        | st.just(Range(0.1, 0.100001)),
        "weight_decay": few(0, 0.1, 0.2) | st.just(Range(0.0, 1.0)),
        "amsgrad": few(True, False),
        "rounding_seed": st.just(Range(0, 2, integer=True)),
        "betas": few((0.9, 0.99), (0.8, 0.99), (0.8, 0.9)),
        "betas.0": few(0.7, 0.6),  # gives some of the betas twice
    },
)


@settings(max_examples=60, deadline=None)
@given(
    SPACES, st.integers(1, 20), st.integers(0, 5), st.sampled_from([peak(3e-3), lambda lr: None])
)
def test_no_settings_are_tried_twice(
    space: Space, budget: int, seed: int, score: Callable[[float], float | None]
) -> None:
    _, tried = search(score, budget, space=space, seed=seed)
    assert 1 <= len(tried) <= budget
    assert len(set(map(settings_key, tried))) == len(tried)
    if "lr" not in space:
        assert len(tried) == budget
    # Wherever the first round is interrupted, the rest of it is the same.
    whole = next_trials(ADAM, space, budget, [], "max", seed)
    for count in range(len(whole)):
        done = [Trial(each, each["lr"], (0.1,), 0.1) for each in whole[:count]]
        assert next_trials(ADAM, space, budget, done, "max", seed) == whole[count:]


def test_other_settings_are_held_first_and_drawn_then() -> None:
    space = parse_space(["weight_decay=0:1,betas.1=0.9:0.995:complement"], [ADAM])["adam"]
    rates, tried = search(peak(1e-3), 8, space=space)
    assert rates == search(peak(1e-3), 8)[0]  # the same search
    # The default of betas[1] is outside of its range: it is drawn in every trial.
    assert ["weight_decay" in s for s in tried] == [False] * 4 + [True] * 4
    assert all(0.9 <= s["betas"][1] <= 0.995 and s["betas"][0] == 0.9 for s in tried)
    assert len({s["betas"] for s in tried}) == 8
    assert search(peak(1e-3), 8, space=space)[1] == tried
    assert search(peak(1e-3), 8, space=space, seed=1)[1] != tried


def test_contestants_with_the_same_space_get_the_same_values() -> None:
    field = parse_contestants(["adam", "torch:Adam", "sgd"])
    spaces = parse_space(["weight_decay=0.1:1,lr=1e-3:1:log"], field)
    drawn = [
        [s["weight_decay"] for s in search(peak(1), 6, each, space=spaces[each.name])[1]]
        for each in field
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    # A Halton sequence: every third of the range is drawn about equally often.
    thirds = [sum(low <= (x - 0.1) / 0.9 < low + 1 / 2 for x in drawn[0]) for low in (0, 0.5)]
    assert thirds == [3, 3]


BOUNDED = """
from torch.optim import SGD


class Bounded(SGD):
    def __init__(self, params, lr=0.1):
        assert 0.05 <= lr <= 1, lr
        super().__init__(params, lr=lr)


class Single(SGD):
    def __init__(self, params, lr=0.1):
        assert lr == 0.1
        super().__init__(params, lr=lr)
"""


def test_a_class_that_takes_no_others_is_walked_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "walk_bounded.py").write_text(BOUNDED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    bounded, single = parse_contestants(["walk_bounded:Bounded", "walk_bounded:Single"])
    rates, _ = search(peak(1), 6, bounded)
    assert rates[:2] == [0.1, 1.0]
    assert len(set(rates)) == 6
    assert all(0.05 <= lr <= 1 for lr in rates)
    assert search(lambda lr: None, 6, single)[0] == [0.1]


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused(budget: int) -> None:
    with pytest.raises(UsageError, match=r"budget is .*, expected at least 1 trial"):
        next_trials(ADAM, {}, budget, [], "max", 0)
