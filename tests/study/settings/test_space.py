"""Spaces as typed and as declared: what they hold, what is refused."""

import math
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine.errors import UsageError
from adamantine.study.settings.contestants import (
    Contestant,
    names,
    parse_contestant,
    parse_contestants,
)
from adamantine.study.settings.space import Choice, Range, own_space, parse_space

FIELD = parse_contestants(
    ["adam", "sgd", "adamw:weight_decay=0.1", "torch:SGD:momentum=0.9", "adam", "adan"]
)
ADAM, SGD, ADAMW, TORCH, ADAM2, ADAN = (contestant.name for contestant in FIELD)


def parsed(
    *texts: str, among: Sequence[Contestant] = FIELD
) -> dict[str, dict[str, Range | Choice]]:
    return {name: space for name, space in parse_space(texts, among).items() if space}


def test_an_entry_is_for_all_that_have_the_setting() -> None:
    lr, beta = Range(1e-5, 0.1, log=True), Range(0.8, 0.99)
    found = parsed("lr=1e-5:1e-1:log, betas.0=0.8:0.99")
    assert found[ADAM] == found[ADAM2] == found[ADAMW] == {"lr": lr, "betas.0": beta}
    assert found[SGD] == found[TORCH] == {"lr": lr}
    assert set(parsed("betas.2=0.8:0.9")) == {ADAN}


@pytest.mark.parametrize("only", [ADAM, ADAM2, ADAMW, TORCH])
def test_a_name_in_front_is_for_that_one_alone(only: str) -> None:
    assert parsed(f"{only}:weight_decay=0:0.3") == {only: {"weight_decay": Range(0.0, 0.3)}}
    both = parsed(f"{only}:weight_decay=0:0.3,weight_decay=0.1|0.2")
    assert both.pop(only) == {"weight_decay": Range(0.0, 0.3)}
    assert all(space == {"weight_decay": Choice((0.1, 0.2))} for space in both.values())
    assert len(both) == len(FIELD) - 1


def test_choices_are_literals() -> None:
    found = parsed("adam:amsgrad=true|false,adam:betas=(0.9,0.99)|(0.8,0.9),state_dtype=int8|none")
    assert found[ADAM] == {
        "amsgrad": Choice((True, False)),
        "betas": Choice(((0.9, 0.99), (0.8, 0.9))),
        "state_dtype": Choice(("int8", None)),
    }
    assert TORCH not in found


def test_whole_numbers_are_those_of_whole_settings() -> None:
    assert parsed("adam:rounding_seed=0:3")[ADAM] == {"rounding_seed": Range(0, 3, integer=True)}
    # Its default is 0 as well, but nobody means 0 or 1.
    assert parsed("adam:weight_decay=0:1")[ADAM] == {"weight_decay": Range(0.0, 1.0)}


def test_switches_may_need_other_entries() -> None:
    sgd = [parse_contestant("sgd")]
    assert set(parsed("nesterov=true|false,momentum=0:0.9", among=sgd)["sgd"]) == {
        "nesterov", "momentum",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"nesterov=true.*momentum=0.*Nesterov momentum requires"):
        parsed("nesterov=true|false,momentum=0|0.9", among=sgd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space '': expected setting=low:high"),
        ("lr", "expected setting=low:high"),
        ("lr=", "expected setting=low:high"),
        ("=1:2", "expected setting=low:high"),
        ("lr=1e-3:1e-1,", "space '': expected"),
        ("lr=0.1", "that is one value; .*belongs to the contestant: adam:lr=0.1"),
        ("lr=1e-3:1e-1:lin", "'lin' is no scale; expected log, complement"),
        ("lr=1e-3:1e-1:log:log", "'log:log' is no scale"),
        ("lr=1:0.1", "the low end 1 is not below the high end 0.1"),
        ("lr=1:1", "the low end 1 is not below"),
        ("lr=low:1", "'low' is not a number"),
        ("lr=true:2", "'true' is not a number"),
        ("lr=1:", "'' is no value"),
        ("lr=1:1e999", "'1e999' is not a finite number"),
        ("lr=0:1", "the low end 0 is not above 0, as a learning rate has to be"),
        ("lr=0|1", "learning rates have to be numbers above 0"),
        ("eps=0:1:log", "the low end 0 is not above 0, as a log scale needs"),
        ("betas.0=0.9:1:complement", "the high end 1 is not below 1"),
        ("betas.0=0.9:1.5", "space betas.0=1.5: .*Invalid beta parameter at index 0: 1.5"),
        ("weight_decay=-1:1", "space weight_decay=-1.0: .*Invalid weight_decay value"),
        ("state_dtype=int8|int7", "space state_dtype=int7: .*Invalid state_dtype"),
        ("amsgrad=true|true", "an option is given twice"),
        ("lr=(1:2", r"'\(' is never closed"),
        ("lr=1:2,lr=2:3", "lr is given twice"),
        ("bettas.0=0:1", "has a setting 'bettas'; did you mean 'betas'"),
        ("betas.7=0:1", "betas has no element 7; the first one is betas.0"),
        ("lr.0=0:1", "lr has no element 0"),
        ("sgd:betas.0=0:1", "none of sgd has a setting 'betas'"),
        ("adamx:lr=1:2", "there is no contestant 'adamx'; did you mean 'adam'"),
        ("rounding_seed=0.5:3", "Invalid rounding_seed"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parsed(text)
    assert "\n" not in str(raised.value)


def test_a_prefix_may_leave_out_settings_that_tell_nobody_apart() -> None:
    adam, *others = parse_contestants(["adam:eps=1e-7", "torch:SGD:lr=1", "torch:SGD:lr=2"])
    found = parse_space(["adam:lr=1:2"], [adam, *others])
    assert [bool(space) for space in found.values()] == [True, False, False]
    with pytest.raises(UsageError, match="there is no contestant 'torch:SGD'"):
        parse_space(["torch:SGD:lr=1:2"], [adam, *others])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["lr", "betas", "betas.0", "nesterov", "adam:eps", "x:lr", "", "foo"]),
            st.text("0123456789.e-:|,()'truelog", max_size=12),
        ),
        max_size=3,
    )
)
def test_nothing_but_usage_errors(entries: list[tuple[str, str]]) -> None:
    with suppress(UsageError):
        parse_space([f"{name}={text}" for name, text in entries], FIELD)


@given(st.floats(1e-9, 0.4), st.floats(0.5, 0.99), st.sampled_from(["", ":log", ":complement"]))
def test_ranges_are_read_as_they_are_written(low: float, high: float, scale: str) -> None:
    found = parse_space([f"lr={low!r}:{high!r}{scale}"], FIELD[:1])[ADAM]["lr"]
    assert found == Range(low, high, log=bool(scale), complement=scale == ":complement")


SHARES = st.floats(0, 1)


@given(st.floats(1e-9, 0.4), st.floats(0.5, 0.99), SHARES, SHARES, st.integers(0, 2))
def test_positions_are_inside_and_in_order(
    low: float, high: float, a: float, b: float, kind: int
) -> None:
    range_ = Range(low, high, log=kind > 0, complement=kind > 1)
    x, y = sorted((a, b))
    assert low <= range_.at(x) <= range_.at(y) <= high


def test_scales() -> None:
    assert [Range(0.0, 1.0).at(x / 4) for x in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [Range(1e-4, 1.0, log=True).at(x / 4) for x in range(5)] == [1e-4, 1e-3, 0.01, 0.1, 1]
    complement = Range(0.9, 0.999, log=True, complement=True)
    assert [complement.at(x / 2) for x in range(3)] == [0.9, 0.99, 0.999]
    whole = [Range(1, 3, integer=True).at((n + 0.5) / 300) for n in range(300)]
    assert [whole.count(n) for n in (1, 2, 3)] == [100, 100, 100]
    assert all(isinstance(n, int) for n in whole)
    assert [Choice(("a", True)).at(x) for x in (0, 0.49, 0.5, 1)] == ["a", "a", True, True]
    assert 1 not in Choice((True, False))


@pytest.mark.parametrize("name", names())
def test_own_spaces_are_taken_and_hold_the_defaults(name: str) -> None:
    contestant = parse_contestant(name)
    space = own_space(contestant)
    assert "lr" in space
    for setting, values in space.items():
        assert isinstance(values, Range)
        assert values.low < values.high
        for share in (0, 0.3, 0.5, 1):
            contestant.check(contestant.with_values({setting: values.at(share)}))
        default = contestant.default(setting)
        assert default in values or default == 0
    for share in (0, 0.5, 1):
        corner = {setting: values.at(share) for setting, values in space.items()}
        contestant.check(contestant.with_values(corner))


def test_own_spaces_follow_the_default_and_leave_what_was_typed() -> None:
    space = own_space(parse_contestant("adam:lr=0.01,eps=1e-7"))
    assert set(space) == {"lr", "betas.0", "betas.1", "weight_decay"}
    assert space["lr"] == Range(1e-4, 1.0, log=True)
    assert space["betas.0"] == Range(0.5, 0.99, log=True, complement=True)
    assert space["betas.1"] == Range(0.9, 0.9999, log=True, complement=True)
    assert own_space(parse_contestant("torch:Adam")) == own_space(parse_contestant("adam"))
    assert set(own_space(parse_contestant("nesterov"))) == {"lr", "weight_decay"}
    assert set(own_space(parse_contestant("sgd"))) == {"lr", "momentum", "weight_decay"}
    sgd = own_space(parse_contestant("sgd"))["lr"]
    assert isinstance(sgd, Range)
    assert math.isclose(sgd.high, 10)
