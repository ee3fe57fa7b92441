"""Learning problems to try an optimizer on: data, model, loss and metric, by name.

- ``protocol``: what a workload is
- ``data``: batches of its data, a part of them held out, a sum over them
- ``registry``: the built-in ones by name
- ``mnist``, ``digits``, ``text``, ``quadratic``: those; ``idx``: the format of MNIST's files
- ``user``, ``importing``, ``check``: the user's own, by ``module:attribute``
- ``surfaces``: functions of two numbers, on which paths are drawn
"""

from adamantine.workloads.data.batches import batch_count, batches, in_memory
from adamantine.workloads.data.split import for_tuning, hold_out
from adamantine.workloads.mnist.download import fetch_mnist
from adamantine.workloads.mnist.files import FileCheck, verify_mnist
from adamantine.workloads.protocol import ACCURACY, Batch, Data, Metric, Workload, accuracy
from adamantine.workloads.registry import Listing, load, names

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
