"""Exceptions in the middle of training: divergence where numbers exploded, else what they are."""

import math

import pytest
import tiny
import torch
from torch import nn

from adamantine import SGD
from adamantine.errors import DivergedError, WorkloadError
from adamantine.train import RunFolder, TrainConfig
from adamantine.train.diagnosis import is_divergence
from adamantine.workloads import Metric

CONFIG = TrainConfig(epochs=3, batch_size=16)
EXPLODING = lambda params: SGD(params, lr=1e30)


def binary_cross_entropy(outputs, targets):
    """torch's own refusal: "all elements of input should be between 0 and 1"."""
    return nn.functional.binary_cross_entropy(outputs.sigmoid()[:, 0], (targets > 0).float())


def asserting(outputs, targets):
    assert torch.isfinite(outputs).all(), "outputs are not finite"
    return nn.functional.cross_entropy(outputs, targets)


class Whitened(nn.Linear):
    """A decomposition of the weights, as in a Gaussian process."""

    def forward(self, inputs):
        gram = self.weight @ self.weight.T + torch.eye(self.out_features)
        return torch.linalg.solve_triangular(
            torch.linalg.cholesky(gram), super().forward(inputs).T, upper=False
        ).T


class Refusing(torch.autograd.Function):
    """Raises on the way back."""

    @staticmethod
    def forward(context, inputs):
        return inputs.clone()

    @staticmethod
    def backward(context, gradient):
        if not torch.isfinite(gradient).all():
            raise ArithmeticError("a gradient is not finite")
        return gradient


class Careful(torch.optim.SGD):
    """An optimizer of the user's that asserts on what it made of the weights."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for param in group["params"]:
                if param.isnan().any() or param.abs().max() > 1e20:
                    raise ValueError("the weights exploded")


def clipped(params):
    """torch's clipping refuses a norm that is not finite, while weights and loss still are."""
    params = list(params)

    class Clipped(torch.optim.SGD):
        def step(self, closure=None):
            torch.nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
            super().step(closure)

    return Clipped(params, lr=0.1)


def infinite_slope(outputs, targets):
    """The root's derivative at 0 is infinite, and its value is not."""
    return (outputs - outputs.detach()).abs().sum().sqrt()


LINEAR = lambda: nn.Linear(tiny.FEATURES, tiny.CLASSES)
DEEP = lambda: nn.Sequential(*(nn.Linear(tiny.FEATURES, tiny.FEATURES) for _ in range(3)))
WHITENED = lambda: Whitened(tiny.FEATURES, tiny.CLASSES)


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (EXPLODING, {"loss": binary_cross_entropy}),
        (EXPLODING, {"loss": asserting}),
        (EXPLODING, {"model": WHITENED}),
        (lambda params: Careful(params, lr=1e30), {}),
        (clipped, {"loss": infinite_slope}),
        (lambda params: SGD(params, skip_nonfinite=2), {"loss": infinite_slope}),
    ],
    ids=["loss", "assertion", "linalg", "optimizer", "clipping", "skipped steps"],
)
def test_an_exception_of_numbers_that_exploded_is_divergence(tmp_path, make, changes):
    problem = tiny.workload(**({"model": DEEP} | changes))
    with pytest.raises(DivergedError) as caught:
        tiny.run(make, CONFIG, problem, out=tmp_path)
    error = caught.value
    assert error.__cause__ is not None
    assert (error.epoch, math.isfinite(error.loss)) == (1, False)
    assert str(error).startswith(f"the loss became nan in epoch 1, step {error.step}: ")
    assert RunFolder(tmp_path).read().status == "diverged"


def test_it_says_what_a_nan_would_have_said():
    """The same run but for one line: a loss that passes NaN on, and one that refuses it."""
    said = []
    for loss in (nn.functional.cross_entropy, asserting):
        with pytest.raises(DivergedError) as caught:
            tiny.run(EXPLODING, CONFIG, tiny.workload(model=DEEP, loss=loss))
        said.append((str(caught.value), caught.value.epoch, caught.value.step))
    assert said[0] == said[1]


@pytest.mark.parametrize("where", ["loss", "metric", "model"])
def test_an_exception_in_the_test_of_weights_that_exploded(where):
    """One step an epoch, so that the test is first to see what it did."""

    def metric(outputs, targets):
        assert where != "metric" or torch.isfinite(outputs).all()
        return (outputs.argmax(1) == targets).float()

    problem = tiny.workload(
        model=WHITENED if where == "model" else DEEP,
        loss=asserting if where == "loss" else nn.functional.cross_entropy,
        metric=Metric("hits", metric),
    )
    with pytest.raises(DivergedError) as caught:
        tiny.run(EXPLODING, TrainConfig(epochs=2, batch_size=tiny.EXAMPLES), problem)
    assert (caught.value.epoch, caught.value.step) == (1, 1)


def raising(error, after=7):
    """A loss that raises in a later step, whatever the weights are."""
    left = [after]

    def loss(outputs, targets):
        left[0] -= 1
        if left[0] < 0:
            raise error
        return nn.functional.cross_entropy(outputs, targets)

    return loss


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError("x"), WorkloadError("x")])
def test_an_exception_with_finite_weights_comes_through_as_it_is(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        tiny.run(SGD, CONFIG, tiny.workload(loss=raising(error)), out=tmp_path)
    assert caught.value is error
    record = RunFolder(tmp_path).read()
    assert (record.status, len(record.epochs)) == ("failed", 1)


NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("x"), NO_MEMORY, OSError("x"), EOFError("x")]
)
def test_what_the_machine_refuses_is_no_divergence_whatever_the_weights_are(error):
    with torch.no_grad():
        model = LINEAR()
        model.weight.fill_(math.nan)
    assert is_divergence(RuntimeError("x"), model)
    assert not is_divergence(error, model)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (torch.tensor([1.0, -math.inf]), False),  # a mask
        (torch.tensor([-math.inf]), True),
        (torch.tensor([1.0, math.inf]), True),
        ({"a": [torch.ones(2), (torch.tensor([math.nan]),)]}, True),
        ((torch.ones(2), torch.zeros(0), torch.tensor([1, 2]), None, "x"), False),
        (torch.tensor([complex(math.nan, 0)]), True),
    ],
)
def test_outputs_that_exploded(outputs, expected):
    assert is_divergence(ValueError("x"), LINEAR(), outputs) is expected


def test_weights_that_are_not_there_yet_or_are_no_numbers():
    model = nn.ModuleList([nn.LazyLinear(3), LINEAR()])
    model.register_parameter("mask", nn.Parameter(torch.tensor([True]), requires_grad=False))
    assert not is_divergence(ValueError("x"), model)
    model[1].weight.grad = torch.sparse_coo_tensor(
        [[0]], [[math.nan] * 5], (3, 5), check_invariants=True
    )
    assert is_divergence(ValueError("x"), model)
