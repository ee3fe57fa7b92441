import io
import random

import numpy as np
import pytest
import torch

from adamantine.errors import UsageError
from adamantine.train.seeds import (
    LIMIT,
    data_order,
    rng_state,
    seed_everything,
    set_rng_state,
)


@pytest.fixture(autouse=True)
def _leave_no_trace():
    state = rng_state()
    yield
    set_rng_state(state)


def draw():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 1, 2**32, LIMIT - 1])
def test_the_same_seed_gives_the_same_numbers(seed):
    seed_everything(seed)
    first = draw()
    assert draw() != first
    seed_everything(seed)
    assert draw() == first


def test_the_state_survives_weights_only_loading():
    draw()
    np.random.standard_normal()  # noqa: NPY002 - NumPy keeps the second of a pair for later
    buffer = io.BytesIO()
    torch.save(rng_state(), buffer)
    first = draw(), np.random.standard_normal()  # noqa: NPY002
    buffer.seek(0)
    set_rng_state(torch.load(buffer, weights_only=True))
    assert (draw(), np.random.standard_normal()) == first  # noqa: NPY002


def test_the_order_of_the_data_does_not_touch_the_global_generator():
    state = torch.get_rng_state()
    order = torch.randperm(10, generator=data_order(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(order, torch.randperm(10, generator=data_order(3)))


@pytest.mark.parametrize("seed", [-1, LIMIT])
def test_a_seed_out_of_range(seed):
    for use in (seed_everything, data_order):
        with pytest.raises(UsageError, match=f"seed is {seed}, expected 0 <= seed"):
            use(seed)
