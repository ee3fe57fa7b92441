import math

import pytest
import torch

from adamantine.errors import UsageError
from adamantine.train.schedules import NAMES, build_schedule

EPOCHS, BATCHES, LR = 4, 25, 0.1
TOTAL = EPOCHS * BATCHES


def expected(name, step):
    """The learning rate of batch `step`, counted from 0, as the documentation has it."""
    epoch = step // BATCHES
    match name:
        case "none":
            return LR
        case "step":
            return LR * 0.1 ** (epoch // math.ceil(EPOCHS / 3))
        case "cosine":
            return LR * (1 + math.cos(math.pi * step / TOTAL)) / 2
        case "linear-warmup":
            return LR * min(1, (step + 1) / (TOTAL // 10))
        case "inverse-sqrt":
            return LR / math.sqrt(step + 1)
        case "one-cycle":
            start, end, top = LR / 25, LR / 250_000, 0.3 * (TOTAL + 1) - 1
            if step <= top:
                return start + (LR - start) * (1 - math.cos(math.pi * step / top)) / 2
            return LR + (end - LR) * (1 - math.cos(math.pi * (step - top) / (TOTAL - top))) / 2
    raise AssertionError(name)


def learning_rates(name, optimizer, epochs, batches):
    schedule = build_schedule(name, optimizer, epochs, batches)
    rates = []
    for _ in range(epochs):
        for _ in range(batches):
            optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])
            if schedule and schedule.per == "batch":
                schedule.scheduler.step()
        if schedule and schedule.per == "epoch":
            schedule.scheduler.step()
    return rates


def sgd(lr=LR, **settings):
    parameter = torch.nn.Parameter(torch.zeros(1))
    return torch.optim.SGD([parameter], lr=lr, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form(name):
    rates = learning_rates(name, sgd(), EPOCHS, BATCHES)
    assert rates == pytest.approx([expected(name, step) for step in range(TOTAL)], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", range(1, 25))
def test_runs_of_any_length_stay_within_the_given_rate(name, total):
    for epochs, batches in ((1, total), (total, 1)):
        rates = learning_rates(name, sgd(), epochs, batches)
        assert max(rates) <= LR * (1 + 1e-9)
        assert min(rates) >= 0


def test_one_cycle_leaves_momentum_alone():
    optimizer = sgd(momentum=0.5)
    learning_rates("one-cycle", optimizer, 2, 5)
    assert optimizer.param_groups[0]["momentum"] == 0.5


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_group_keeps_its_own_rate(name):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    build_schedule(name, optimizer, EPOCHS, BATCHES)
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first == pytest.approx(10 * second)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="schedule is 'cosin', expected one of none, step, cosine"):
        build_schedule("cosin", sgd(), 1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_moves_by_a_share_of_the_batches_needs_their_number(name):
    if name in ("none", "step", "inverse-sqrt"):
        build_schedule(name, sgd(), 3, None)
    else:
        with pytest.raises(UsageError, match="has no len"):
            build_schedule(name, sgd(), 3, None)
