"""The search for a learning rate, on problems whose answer is known."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamantine import SGD, Muon
from adamantine.errors import CheckpointError, UsageError, WorkloadError
from adamantine.records.lr_find import LrFindRecord
from adamantine.study.lr_find.lr_find import find_learning_rate
from adamantine.train.seeds import rng_state
from adamantine.workloads import ACCURACY, Workload

QUICK = {"seeds": 2, "steps": 16}


class Coordinate(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, inputs):
        return self.x.expand(len(inputs))


def parabola(curvature):
    """``½ L x²`` without noise: gradient descent diverges from 2 / L on."""
    data = torch.zeros(64, 1), torch.zeros(64)
    return Workload(
        "parabola",
        Coordinate,
        data,
        data,
        lambda outputs, _: curvature / 2 * outputs.square().mean(),
    )


def blobs(count=256):
    """Two classes of points, the first batch norm's and dropout's own randomness in the model."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, (inputs.sum(dim=1) > 0).long()


def network():
    return nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
    )


def classification(**changed):
    data = blobs()
    return replace(
        Workload("blobs", network, data, data, nn.functional.cross_entropy, ACCURACY), **changed
    )


def test_an_optimizer_of_matrices_has_the_whole_model():
    """As if somebody had said which of its parameters are hidden matrices."""

    def built(parameters):
        hidden, *others = parameters
        return Muon([{"params": [hidden]}, {"params": others, "algorithm": "adamw"}], lr=1.0)

    found, expected = (find_learning_rate(classification(), o, **QUICK) for o in ("muon", built))
    assert found.optimizer == "Muon"
    assert found.sweep == expected.sweep
    assert found.suggestion == expected.suggestion


@pytest.mark.parametrize("curvature", [0.031, 0.7, 1.0, 55.0, 4e4])
def test_gradient_descent_diverges_at_two_by_the_curvature(curvature):
    found = find_learning_rate(parabola(curvature), "sgd", **QUICK, high=1e3)
    grid_step = math.sqrt(10)
    assert 2 / curvature <= found.diverges_at <= grid_step * 2 / curvature
    assert found.suggestion.value < 2 / curvature


def test_progress_is_that_of_the_closed_form():
    curvature, steps = 0.7, 20
    found = find_learning_rate(parabola(curvature), "sgd", seeds=1, steps=steps)

    def expected(rate):  # the loss before step t + 1 is (1 - rate L)^(2t) of the first
        tail = np.arange(steps - steps // 4, steps)
        return max(0.0, 1 - ((1 - rate * curvature) ** (2 * tail)).mean())

    progresses = np.array([expected(held.rate) for held in found.held])
    assert [held.progress for held in found.held] == pytest.approx(
        list(progresses / progresses.max())
    )
    logs = np.log10([held.rate for held in found.held])
    below = slice(0, progresses.argmax() + 1)
    suggestion = 10 ** np.interp(0.95 * progresses.max(), progresses[below], logs[below])
    assert found.suggestion.value == pytest.approx(suggestion)
    assert found.start_loss == pytest.approx(curvature / 2 * 9)


def test_the_same_seed_gives_the_same_bits():
    first = find_learning_rate(classification(), **QUICK, seed=4)
    torch.manual_seed(99)
    assert find_learning_rate(classification(), **QUICK, seed=4).to_json() == first.to_json()
    other = find_learning_rate(classification(), **QUICK, seed=40)
    assert other.sweep.losses != first.sweep.losses


def test_a_seed_sees_the_same_batches_from_the_same_weights_at_every_rate():
    seen = {}

    def loss(outputs, targets):
        value = nn.functional.cross_entropy(outputs, targets)
        batch.append((targets.tolist(), value.item()))
        return value

    def on_step(what, step, steps):
        run = seen.setdefault(what, [])
        run.append(batch.pop())

    batch = []
    find_learning_rate(classification(loss=loss), **QUICK, batch_size=32, on_step=on_step)
    for seed in range(QUICK["seeds"]):
        sweep, *held = (run for what, run in seen.items() if what.endswith(f"seed {seed}"))
        assert len(held) > 2
        for run in held:
            assert run[0] == sweep[0], "the first batch's loss is that of the first weights"
            assert [targets for targets, _ in run] == [targets for targets, _ in sweep[:16]]
    assert seen["sweep, seed 0"][0] != seen["sweep, seed 1"][0]


def test_a_shift_of_the_loss_changes_nothing():
    def shifted(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) + 4

    plain = find_learning_rate(classification(), **QUICK)
    moved = find_learning_rate(classification(loss=shifted), **QUICK)
    assert moved.suggestion.value == pytest.approx(plain.suggestion.value, rel=1e-3)
    assert moved.high.value == pytest.approx(plain.high.value, rel=1e-3)


def scaled(outputs, targets):
    return 8 * nn.functional.cross_entropy(outputs, targets)


def test_adam_does_not_see_the_scale_of_the_loss():
    plain = find_learning_rate(classification(), "adam", settings={"eps": 1e-16}, **QUICK)
    large = find_learning_rate(
        classification(loss=scaled), "adam", settings={"eps": 1e-16}, **QUICK
    )
    assert large.suggestion.value == pytest.approx(plain.suggestion.value, rel=1e-2)


def test_sgd_undoes_the_scale_of_the_loss():
    """A tenth of the loss and ten times the rate are the same steps."""

    def tenth(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) / 10

    plain = find_learning_rate(classification(), "sgd", **QUICK, low=1e-7, high=1e2)
    small = find_learning_rate(classification(loss=tenth), "sgd", **QUICK, low=1e-6, high=1e3)
    assert small.suggestion.value == pytest.approx(10 * plain.suggestion.value, rel=1e-2)
    assert small.diverges_at == pytest.approx(10 * plain.diverges_at, rel=1e-6)


def snapshot(model):
    return copy.deepcopy(
        {
            "state": dict(model.state_dict()),
            "grads": [p.grad for p in model.parameters()],
            "modes": [module.training for module in model.modules()],
            "trained": [p.requires_grad for p in model.parameters()],
            "random": rng_state(),
        }
    )


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def test_a_given_model_and_the_generators_are_left_as_they_were():
    model = network().eval()
    model[1].train()
    model[0].weight.requires_grad_(False)
    model(blobs(32)[0]).sum().backward()
    pointers = [p.data_ptr() for p in model.parameters()]
    before = snapshot(model)
    found = find_learning_rate(classification(), model=model, **QUICK)
    assert same(snapshot(model), before)
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert found.suggestion.value > 0


def test_every_seed_starts_from_the_given_model():
    model = network()
    whole = classification()
    whole = replace(whole, model=lambda: pytest.fail("a fresh model was built"))
    found = find_learning_rate(whole, model=model, **QUICK, batch_size=256)
    # One batch holds all the data: without dropout the first losses are equal.
    model[3].p = 0.0
    found = find_learning_rate(whole, model=model, **QUICK, batch_size=256)
    first, second = (losses[0] for losses in found.sweep.losses)
    assert first == pytest.approx(second, rel=1e-6)


def test_generators_are_put_back_when_it_is_interrupted():
    before = rng_state()

    def interrupt(what, step, steps):
        assert what == "sweep, seed 0"
        assert steps == 32
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(classification(), **QUICK, on_step=interrupt)
    assert same(rng_state(), before)


def test_a_loaders_own_generator_is_seeded_and_put_back():
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(TensorDataset(*blobs()), 64, shuffle=True, generator=generator)
    before = generator.get_state()
    first = find_learning_rate(classification(train=loader), **QUICK)
    assert torch.equal(generator.get_state(), before)
    generator.manual_seed(2)
    assert find_learning_rate(classification(train=loader), **QUICK).sweep == first.sweep
    assert first.batch_size is None


def test_groups_keep_their_proportion():
    built = []

    def optimizer(parameters):
        first, *rest = parameters
        groups = [{"params": [first]}, {"params": rest, "lr": 0.05}]
        built.append(torch.optim.SGD(groups, lr=0.5))
        return built[-1]

    find_learning_rate(classification(), optimizer, **QUICK)
    rates = [[group["lr"] for group in one.param_groups] for one in built]
    assert all(second == pytest.approx(first / 10) for first, second in rates)
    assert len({first for first, _ in rates}) >= 3


def test_a_function_finds_what_the_name_finds():
    named = find_learning_rate(classification(), "sgd", settings={"momentum": 0.5}, **QUICK)
    built = find_learning_rate(
        classification(), lambda parameters: SGD(parameters, lr=1.0, momentum=0.5), **QUICK
    )
    assert built.suggestion == named.suggestion
    assert (named.optimizer, named.settings) == ("SGD", {"momentum": 0.5})


def test_sparse_tables_that_lag_behind_are_brought_up_to_date():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50, 2, sparse=True)

        def forward(self, indices):
            return self.table(indices)

    indices = torch.arange(50).repeat(4)
    data = indices, indices % 2
    workload = Workload("table", Table, data, data, nn.functional.cross_entropy)
    found = find_learning_rate(
        workload, "adam", settings={"sparse": "exact"}, **QUICK, batch_size=16
    )
    assert found.low.value <= found.suggestion.value <= found.high.value


def test_counts_its_steps_and_orders_its_numbers():
    steps = []
    found = find_learning_rate(
        classification(), **QUICK, on_step=lambda what, step, total: steps.append(what)
    )
    assert found.steps_taken == len(steps)
    assert [held.rate for held in found.held] == sorted(held.rate for held in found.held)
    assert found.low.value <= found.suggestion.value <= found.high.value
    for spread in (found.low, found.suggestion, found.high):
        assert spread.least <= spread.most
    assert max(held.progress for held in found.held) == 1


def test_the_record_survives_json():
    found = find_learning_rate(parabola(1.0), "sgd", seeds=1, steps=100, high=1e8)
    assert any(math.isnan(loss) for loss in found.sweep.losses[0]), "the sweep overflows"
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = LrFindRecord.from_json(data)
    assert again.to_json() == data
    assert again.suggestion == found.suggestion
    with pytest.raises(CheckpointError, match="suggestion"):
        LrFindRecord.from_json({**data, "suggestion": 3})


def test_a_search_that_ends_too_early_says_so():
    short = find_learning_rate(parabola(1e-3), "sgd", **QUICK, high=10)
    assert short.diverges_at is None
    assert "search higher" in short.reason
    late = find_learning_rate(parabola(1.0), "sgd", **QUICK, low=0.31, high=100)
    assert "search lower" in late.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds is 0, expected at least 1"),
        ({"steps": 7}, "steps is 7, expected at least 8"),
        ({"low": 0.0}, "expected 0 < low < high"),
        ({"low": 1e-2, "high": 1e-3}, "expected 0 < low < high"),
        ({"high": math.inf}, "expected 0 < low < high"),
        ({"low": math.nan}, "expected 0 < low < high"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63 - 1, "seeds": 2}, "expected 0 <= seed"),
        ({"optimizer": "moon"}, "optimizer is 'moon'"),
        ({"settings": {"lr": 1e-3}}, "leave lr out"),
        ({"optimizer": torch.optim.Adam, "settings": {"eps": 1}}, "a function has its"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.0)}, "expected a number above 0"),
        ({"batch_size": 0}, "batch size 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        find_learning_rate(classification(), **arguments)


def test_a_model_that_cannot_be_copied():
    model = network()
    model.extra = model[0].weight * 2  # part of a graph
    with pytest.raises(UsageError, match="cannot be copied"):
        find_learning_rate(classification(), model=model)


def test_what_does_not_learn_gets_no_suggestion():
    noise = torch.Generator().manual_seed(0)

    def loss(outputs, targets):
        return outputs.sum() * 0 + torch.rand((), generator=noise)

    with pytest.raises(WorkloadError, match="no learning rate brought the loss"):
        find_learning_rate(classification(loss=loss), **QUICK)


def test_a_loss_that_is_broken_from_the_start():
    with pytest.raises(WorkloadError, match="not finite before the first step"):
        find_learning_rate(classification(loss=lambda o, t: o.sum() * math.nan), **QUICK)
