"""Learning problems to try an optimizer on: data, model, loss and metric, by name."""

from adamantine.workloads.batches import batch_count, batches, in_memory
from adamantine.workloads.download import fetch_mnist
from adamantine.workloads.mnist_files import FileCheck, verify_mnist
from adamantine.workloads.protocol import ACCURACY, Batch, Data, Metric, Workload, accuracy
from adamantine.workloads.registry import Listing, load, names
from adamantine.workloads.split import for_tuning, hold_out

__all__ = [
    "ACCURACY",
    "Batch",
    "Data",
    "FileCheck",
    "Listing",
    "Metric",
    "Workload",
    "accuracy",
    "batch_count",
    "batches",
    "fetch_mnist",
    "for_tuning",
    "hold_out",
    "in_memory",
    "load",
    "names",
    "verify_mnist",
]
