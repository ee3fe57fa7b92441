"""Validation data."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads import Workload, for_tuning, hold_out, load
from adamantine.workloads.check import as_workload


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(count * 2).view(count, 2), torch.arange(count)


def workload(**changes: object) -> Workload:
    plain = Workload("plain", lambda: nn.Linear(2, 1), numbered(50), numbered(7), nn.MSELoss())
    return replace(plain, **changes)


@given(count=st.integers(2, 200), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 99))
def test_every_example_is_in_one_part_with_its_target(count, fraction, seed) -> None:
    rest, held_out = hold_out(numbered(count), fraction, seed)
    assert len(held_out[0]) == min(max(round(fraction * count), 1), count - 1)
    assert sorted([*rest[1].tolist(), *held_out[1].tolist()]) == list(range(count))
    for inputs, targets in (rest, held_out):
        assert inputs[:, 0].equal(2 * targets)
        assert targets.equal(targets.sort().values)
    again = hold_out(numbered(count), fraction, seed)
    assert again[1][1].equal(held_out[1])


def test_another_seed_is_another_split_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    chosen = {tuple(hold_out(numbered(50), seed=seed)[1][1].tolist()) for seed in range(5)}
    assert len(chosen) == 5
    assert torch.get_rng_state().equal(before)


def test_the_choice_is_not_by_place() -> None:
    """Sorted data (by class, say) must not be held out by their ends."""
    held_out = hold_out(numbered(1_000), 0.5)[1][1]
    # The mean of 500 of 1,000 numbers: 499.5 ± 9.1.
    assert abs(held_out.double().mean().item() - 499.5) < 4 * 9.1


def test_tuning_splits_the_training_data_where_there_is_nothing_else() -> None:
    whole = workload()
    found = for_tuning(whole, fraction=0.2, seed=3)
    train, validation = hold_out(whole.train, 0.2, 3)
    for ours, theirs in zip((*found.train, *found.test), (*train, *validation), strict=True):
        assert ours.equal(theirs)
    assert (len(found.train[0]), len(found.test[0])) == (40, 10)
    assert whole.test[0].equal(numbered(7)[0])
    for field in ("name", "model", "loss", "metric", "description"):
        assert getattr(found, field) is getattr(whole, field)


def test_tuning_takes_the_validation_data_there_are_and_all_of_the_training_data() -> None:
    validation = numbered(9)
    whole = workload(validation=validation)
    found = for_tuning(whole)
    assert found.train is whole.train
    assert found.test is validation
    assert found.validation is None


@pytest.mark.parametrize("name", ["digits", "chars-rnn", "words-embedding", "quadratic", "mnist"])
def test_tuning_never_sees_the_test_set(name: str, request: pytest.FixtureRequest) -> None:
    whole = load(name, request.getfixturevalue("mnist_folder") if name == "mnist" else None)
    found = for_tuning(whole)
    held = {id(tensor.untyped_storage()) for tensor in (*found.train, *found.test)}
    assert found.test is not whole.test
    assert not held & {id(tensor.untyped_storage()) for tensor in whole.test}
    size = len(found.train[0]) + (whole.validation is None) * len(found.test[0])
    assert size == len(whole.train[0])


def test_batches_of_its_own_cannot_be_split() -> None:
    in_batches = [numbered(5), numbered(5)]
    with pytest.raises(
        WorkloadError, match=r"plain has no validation data, .*give .* `validation`"
    ):
        for_tuning(workload(train=in_batches))
    assert for_tuning(workload(train=in_batches, validation=in_batches)).test is in_batches


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_share_out_of_range(fraction: float) -> None:
    with pytest.raises(UsageError, match="expected a share between 0 and 1"):
        hold_out(numbered(5), fraction)


@pytest.mark.parametrize(
    ("data", "saying"),
    [(numbered(1), "a single example"), ((torch.ones(2), torch.ones(3)), "the data to split")],
)
def test_data_that_cannot_be_split(data, saying) -> None:
    with pytest.raises(WorkloadError, match=saying):
        hold_out(data)


def test_the_users_own_validation_data_are_kept_and_checked() -> None:
    fields = vars(workload()) | {"validation": numbered(3)}
    assert as_workload(SimpleNamespace(**fields), "mine:it").validation is fields["validation"]
    del fields["validation"]
    assert as_workload(SimpleNamespace(**fields), "mine:it").validation is None
    fields["validation"] = iter([])
    with pytest.raises(WorkloadError, match=r"mine:it: validation: .* can be read only once"):
        as_workload(SimpleNamespace(**fields), "mine:it")
