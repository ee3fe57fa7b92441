"""The user's own workload, by `module:attribute`."""

from torch import nn

from adamantine.errors import WorkloadError
from adamantine.workloads.check import as_workload, takes
from adamantine.workloads.importing import Importer
from adamantine.workloads.protocol import Workload

_IMPORTER = Importer("workload", "attribute", "examples.my_workload:workload", WorkloadError)


def load_user(spec: str) -> Workload:
    """The workload that `module:attribute` names.

    The current folder is put on ``sys.path``, as ``python -m`` does. The attribute is a
    workload, or a function (or class) that returns one when called without arguments.

    Raises
    ------
    UsageError
        If `spec` is not of the form ``module:attribute``.
    WorkloadError
        If there is no such module or attribute, if the module cannot be imported, or if what
        it names is not a workload. Other errors of your own code come through as they are.
    """
    candidate = _IMPORTER.find(spec)
    if callable(candidate) and not isinstance(candidate, (Workload, nn.Module)):
        if not takes(candidate, 0):
            raise WorkloadError(
                f"{spec}: cannot be called without arguments, expected a workload or a function"
                " () -> workload"
            )
        with _IMPORTER.import_errors_named(spec):
            candidate = candidate()
        if candidate is None:
            raise WorkloadError(f"{spec}: returned None, expected a workload")
    return as_workload(candidate, spec)
