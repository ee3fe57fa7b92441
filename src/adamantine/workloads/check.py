"""Whether an object is a workload: the protocol's fields, each of its type."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from adamantine.errors import WorkloadError
from adamantine.workloads.data.batches import check_batch, describe, in_memory
from adamantine.workloads.protocol import Metric, Workload

REQUIRED = ("name", "model", "train", "test", "loss", "metric")
METRIC_REQUIRED = ("name", "per_example", "direction")
DIRECTIONS = ("max", "min")


def as_workload(candidate: object, source: str) -> Workload:
    """The :class:`Workload` that an object with its attributes describes.

    Of the attributes only ``description`` and ``validation`` may be left out: one that were left
    out by misspelling it would otherwise change what is measured, unseen.

    Parameters
    ----------
    candidate
        A :class:`Workload` or anything that has its attributes.
    source
        What errors call it: ``module:attribute``.

    Raises
    ------
    WorkloadError
        If an attribute is missing or not what the protocol says.
    """
    if isinstance(candidate, nn.Module):
        raise WorkloadError(
            f"{source}: got a model ({type(candidate).__name__}), expected a workload around it;"
            " see docs/workloads.md"
        )
    _require(candidate, REQUIRED, source, "a workload")
    fields = {field: getattr(candidate, field) for field in REQUIRED}
    fields["description"] = getattr(candidate, "description", "")
    for field in ("name", "description"):
        _check_type(fields[field], str, f"{source}: {field}")
    _check_model(fields["model"], source)
    _check_callable(fields["loss"], 2, f"{source}: loss", "(outputs, targets) -> mean loss")
    for field in ("train", "test"):
        _check_data(fields[field], f"{source}: {field}")
    fields["validation"] = getattr(candidate, "validation", None)
    if fields["validation"] is not None:
        _check_data(fields["validation"], f"{source}: validation")
    fields["metric"] = _as_metric(fields["metric"], f"{source}: metric")
    return Workload(**fields)


def _as_metric(candidate: object, source: str) -> Metric:
    _require(candidate, METRIC_REQUIRED, source, "a metric")
    name, per_example, direction = (getattr(candidate, field) for field in METRIC_REQUIRED)
    _check_type(name, str, f"{source}: name")
    _check_callable(
        per_example, 2, f"{source}: per_example", "(outputs, targets) -> a number an example"
    )
    if direction not in DIRECTIONS:
        raise WorkloadError(f"{source}: direction is {direction!r}, expected 'max' or 'min'")
    return Metric(name, per_example, direction)


def _require(candidate: object, fields: tuple[str, ...], source: str, what: str) -> None:
    missing = [field for field in fields if not hasattr(candidate, field)]
    if missing:
        raise WorkloadError(
            f"{source}: {describe(candidate)} has no {', no '.join(missing)};"
            f" {what} has {', '.join(fields)}; see docs/workloads.md"
        )


def _check_type(value: object, expected: type, source: str) -> None:
    if not isinstance(value, expected):
        raise WorkloadError(f"{source}: got {describe(value)}, expected a {expected.__name__}")


def _check_model(model: object, source: str) -> None:
    if isinstance(model, nn.Module):
        raise WorkloadError(
            f"{source}: model is a built {type(model).__name__}, expected a function that builds"
            " a fresh one for each run, e.g. `lambda: nn.Linear(3, 1)`"
        )
    _check_callable(model, 0, f"{source}: model", "() -> torch.nn.Module")


def _check_callable(value: object, arguments: int, source: str, expected: str) -> None:
    if not callable(value):
        raise WorkloadError(f"{source}: got {describe(value)}, expected a function {expected}")
    if arguments and isinstance(value, type):
        name = value.__name__
        raise WorkloadError(
            f"{source}: got the class {name}, expected a function {expected};"
            f" call the class, e.g. `{name}()`"
        )
    if not takes(value, arguments):
        raise WorkloadError(
            f"{source}: cannot be called with {arguments or 'no'} arguments, expected {expected}"
        )


def takes(function: Callable[..., object], arguments: int) -> bool:
    """Whether a callable can be called with so many positional arguments."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some compiled functions tell no signature; calling them will
        return True
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _check_data(data: object, source: str) -> None:
    """Tensors are checked here, a re-iterable's batches as they come: reading one costs."""
    if in_memory(data):
        check_batch(data, source)
    elif isinstance(data, Iterator):
        raise WorkloadError(
            f"{source}: a {type(data).__name__} can be read only once, and every epoch reads it;"
            " give a list of batches, a DataLoader, or an object whose __iter__ starts afresh"
        )
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise WorkloadError(
            f"{source}: a {type(data).__name__} gives single examples, expected batches;"
            " give DataLoader(dataset, batch_size=…)"
        )
    elif _holds_no_batches(data):
        raise WorkloadError(
            f"{source}: got {describe(data)}, expected two tensors (inputs, targets) or a"
            " re-iterable of such batches, e.g. a DataLoader"
        )


def _holds_no_batches(data: object) -> bool:
    if not isinstance(data, Iterable) or isinstance(data, (Tensor, str, bytes, Mapping)):
        return True
    # Three tensors, or a tensor and an array, are a slip rather than a list of batches.
    if isinstance(data, (tuple, list)):
        return not data or not all(in_memory(batch) for batch in data)
    return False
