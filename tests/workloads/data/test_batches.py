import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads import batch_count, batches, in_memory


def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs that tell which target they belong to."""
    return torch.arange(count * 3).view(count, 3), torch.arange(count) * 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(4))


@example(count=391, batch_size=65, seed=0)
@example(count=66, batch_size=65, seed=None)
@given(count=st.integers(1, 70), batch_size=st.integers(1, 80), seed=st.none() | st.integers(0, 99))
def test_an_epoch_gives_every_example_once_with_its_target(
    count: int, batch_size: int, seed: int | None
) -> None:
    data = pairs(count)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    given_batches = list(batches(data, batch_size, generator))
    assert len(given_batches) == batch_count(data, batch_size)
    sizes = [len(targets) for _, targets in given_batches]
    assert all(size == batch_size for size in sizes[:-1])
    left = count % batch_size or batch_size
    joined = left == 1 and 1 < batch_size < count
    assert sizes[-1] == (batch_size + 1 if joined else left)
    assert 1 not in sizes or batch_size == 1 or count == 1
    for inputs, targets in given_batches:
        assert torch.equal(inputs[:, 0], targets)
    targets = torch.cat([targets for _, targets in given_batches])
    if generator is None:
        assert torch.equal(targets, data[1])
    else:
        # The oracle: the generator's own permutation.
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(targets, data[1][order])


def test_each_epoch_has_its_own_order_and_a_seed_repeats_them_all() -> None:
    data = pairs(50)

    def epochs(generator: torch.Generator) -> list[list[int]]:
        return [
            [target for _, targets in batches(data, 8, generator) for target in targets.tolist()]
            for _ in range(3)
        ]

    first = epochs(torch.Generator().manual_seed(5))
    assert first == epochs(torch.Generator().manual_seed(5))
    assert first[0] != first[1] != first[2]


def test_shuffling_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    list(batches(pairs(20), 4, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_shuffled_batch_is_a_copy() -> None:
    data = pairs(6)
    for inputs, _ in batches(data, 2, torch.Generator()):
        inputs.zero_()
    assert torch.equal(data[0], pairs(6)[0])


def test_a_loader_keeps_its_own_batch_size() -> None:
    loader = DataLoader(TensorDataset(*pairs(10)), batch_size=4)
    assert not in_memory(loader)
    assert batch_count(loader, 64) == 3
    for _ in range(2):
        assert [len(targets) for _, targets in batches(loader, 64)] == [4, 4, 2]


def test_lists_of_batches_and_of_two_tensors_are_told_apart() -> None:
    one, other = pairs(3), pairs(2)
    assert in_memory(list(one))
    assert not in_memory([one, other])
    assert [len(targets) for _, targets in batches([one, other], 64)] == [3, 2]


def test_the_count_of_what_has_no_length_is_none() -> None:
    class Endless:
        def __iter__(self):
            return iter([pairs(2)])

    assert batch_count(Endless(), 1) is None
    assert batch_count(DataLoader(Stream()), 1) is None


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused_at_once(batch_size: int) -> None:
    for ask in (batches, batch_count):
        with pytest.raises(UsageError, match=f"batch size {batch_size}: expected 1 or more"):
            ask(pairs(3), batch_size)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((torch.zeros(3, 2), torch.zeros(4)), r"\(3, 2\) and targets of shape \(4,\)"),
        ((torch.zeros(0, 2), torch.zeros(0)), "at least one"),
        ((torch.tensor(1.0), torch.tensor(1.0)), "in their first dimension"),
    ],
)
def test_tensors_of_unequal_length_are_refused_at_once(data: object, expected: str) -> None:
    with pytest.raises(WorkloadError, match=expected):
        batches(data, 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DataLoader(Stream(), batch_size=2), r"got a tensor of shape \(2,\), expected two tensors"),
        ([(torch.zeros(2), [1, 2])], r"got a tuple of \(Tensor, list\), expected two tensors"),
        ([(torch.zeros(2), torch.zeros(3))], "the same number of examples"),
        ([], "gave no batch"),
    ],
)
def test_a_wrong_batch_is_told_when_it_comes(data: object, expected: str) -> None:
    with pytest.raises(WorkloadError, match=expected):
        list(batches(data, 1))


def test_data_that_can_be_read_only_once_is_told_in_the_second_epoch() -> None:
    class Once:
        def __init__(self) -> None:
            self.source = iter([pairs(2)])

        def __iter__(self):
            return self.source

    data = Once()
    assert len(list(batches(data, 1))) == 1
    with pytest.raises(WorkloadError, match=r"of type Once.* gave no batch.*read once is empty"):
        list(batches(data, 1))
