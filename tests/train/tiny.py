"""Learning problems small enough for a test, with everything that makes resuming hard."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamantine.train import TrainConfig, seed_everything, train
from adamantine.workloads import ACCURACY, Workload

EXAMPLES, FEATURES, CLASSES = 70, 5, 3


def examples(count=EXAMPLES):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, FEATURES, generator=generator)
    weights = torch.randn(FEATURES, CLASSES, generator=generator)
    return inputs, (inputs @ weights).argmax(dim=1)


def model():
    """Dropout draws random numbers while it trains, and batch norm keeps buffers."""
    return nn.Sequential(
        nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, CLASSES)
    )


def workload(**changes):
    fields = {
        "name": "tiny",
        "model": model,
        "train": examples(),
        "test": examples(23),
        "loss": nn.functional.cross_entropy,
        "metric": ACCURACY,
    }
    return Workload(**(fields | changes))


def loader(**options):
    """A DataLoader that shuffles, as a user's workload may bring."""
    return DataLoader(TensorDataset(*examples()), batch_size=16, shuffle=True, **options)


def run(optimizer, config=None, problem=None, **arguments):
    """Train from fresh weights; the record and the trained model."""
    config = config or TrainConfig(epochs=3, batch_size=16)
    problem = problem or workload()
    seed_everything(config.seed)
    net = problem.model()
    record = train(problem, net, optimizer(net.parameters()), config, **arguments)
    return record, net


def same_bits(first, second):
    """Whether two models hold the same parameters and buffers, bit for bit."""
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def results(record):
    """What a record says, but for the time it took."""
    return [
        (e.epoch, e.average_loss, e.test_loss, e.test_metric, e.lr, e.metric) for e in record.epochs
    ]
