"""What a search asks of its caller, and what it leaves as it was."""

import cheap
import pytest
import torch

from adamantine.errors import UsageError
from adamantine.study import TunePlan, tune


def test_what_would_be_ignored_is_refused():
    data = [cheap.examples(32, seed) for seed in range(3)]
    workload = cheap.cheap(train=data, validation=cheap.examples(30, 7))
    with pytest.raises(UsageError, match="brings batches of its own; leave out the batch size"):
        tune(workload, TunePlan(("sgd",), trials=1, batch_size=7))
    with pytest.raises(UsageError, match="the workload is an object that has its data"):
        tune(cheap.workload, TunePlan(("sgd",), trials=1), data_dir="somewhere")


def test_the_callers_generators_are_left_as_they_were_by_a_search():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tune(cheap.workload, TunePlan(("sgd",), trials=1, epochs=1, seeds=1))
    assert torch.equal(torch.rand(3), expected)
