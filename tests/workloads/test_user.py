import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from adamantine.errors import UsageError, WorkloadError
from adamantine.workloads import ACCURACY, Metric, Workload, batches, load
from adamantine.workloads.check import as_workload

PAIR = (torch.zeros(6, 2), torch.zeros(6, dtype=torch.int64))


def duck(**changes: object) -> SimpleNamespace:
    """An object that has a workload's attributes and nothing of this package."""
    fields = {
        "name": "duck",
        "model": lambda: nn.Linear(2, 3),
        "train": PAIR,
        "test": PAIR,
        "loss": nn.functional.cross_entropy,
        "metric": SimpleNamespace(
            name="error", per_example=lambda outputs, targets: outputs.sum(1), direction="min"
        ),
    }
    return SimpleNamespace(**{**fields, **changes})


def without(field: str) -> SimpleNamespace:
    found = duck()
    delattr(found, field)
    return found


class Stream(IterableDataset):
    def __iter__(self):
        return iter([PAIR])


SOURCE = """
import torch
from torch import nn


class Metric:
    name = "error"
    direction = "min"

    @staticmethod
    def per_example(outputs, targets):
        return (outputs - targets).abs().mean(dim=1)


class Problem:
    name = "halves"
    metric = Metric

    def __init__(self):
        x = torch.arange(8.0).view(8, 1)
        self.train = self.test = (x, x / 2)

    def model(self):
        return nn.Linear(1, 1)

    def loss(self, outputs, targets):
        return nn.functional.mse_loss(outputs, targets)


built = Problem()


def build():
    return Problem()


def needs(argument):
    return Problem()


def forgets():
    Problem()


def lazily():
    import no_such_package

    return Problem()


network = nn.Linear(1, 1)
number = 3
"""


@pytest.mark.parametrize("attribute", ["built", "build", "Problem"])
def test_an_object_a_function_and_a_class_are_all_workloads(project: Path, attribute: str) -> None:
    (project / "mine.py").write_text(SOURCE)
    workload = load(f"mine:{attribute}")
    assert isinstance(workload, Workload)
    assert workload.name == "halves"
    assert workload.metric.direction == "min"
    inputs, targets = next(batches(workload.train, 4))
    outputs = workload.model()(inputs)
    assert workload.loss(outputs, targets).shape == ()
    assert workload.metric.per_example(outputs, targets).shape == (4,)


def test_a_module_in_a_folder_is_found_from_the_current_one(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "mine.py").write_text(SOURCE)
    assert load("inner.mine:built").name == "halves"
    assert sys.path[0] == str(project)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mine:", "expected module:attribute, e.g. examples.my_workload:workload"),
        (":built", "expected module:attribute"),
        ("mine:built:too", "expected module:attribute"),
        ("a mine:built", "expected module:attribute"),
        ("mine..inner:built", "expected module:attribute"),
        ("mine.py:built", "mine.py is a path, expected the name of a module in the current folder"),
        ("./inner/mine.py:built", "current folder: inner.mine:built"),
        ("inner/mine:built", "current folder: inner.mine:built"),
        ("/there/mine.py:built", "folder: mine:built from /there"),
        ("../mine.py:built", "folder: mine:built from .."),
    ],
)
def test_a_misspelt_name_is_told(project: Path, spec: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(spec)
    assert str(caught.value).startswith(f"workload {spec!r}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("nowhere:built", "there is no module 'nowhere' in the current folder"),
        ("nowhere.inner:built", "there is no module 'nowhere' in"),
        ("mine.inner:built", "there is no module 'mine.inner' in"),
        ("mine:bilt", "mine.py has no 'bilt'; did you mean 'built'?"),
        ("mine:zzz", "mine.py has no 'zzz'"),
        ("mine:needs", "cannot be called without arguments, expected a workload or a function"),
        ("mine:forgets", "returned None, expected a workload"),
        ("mine:network", "got a model (Linear), expected a workload around it"),
        ("mine:number", "an object of type int has no name, no model, no train, no test, no loss"),
    ],
)
def test_what_is_not_there_or_no_workload_is_told(project: Path, spec: str, expected: str) -> None:
    (project / "mine.py").write_text(SOURCE)
    with pytest.raises(WorkloadError) as caught:
        load(spec)
    assert str(caught.value).startswith(f"{spec}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\n\nimport no_such_package\n", "line 3: No module named 'no_such_package'"),
        ("from torch import no_such_name\n", "line 1: cannot import name 'no_such_name'"),
        ("import helper\n", "mine.py, line 1: No module named 'no_such_package'"),
        ("x = 1\nx = = 2\n", "mine.py, line 2: invalid syntax; correct it"),
    ],
)
def test_an_import_that_fails_inside_the_module_is_told_with_its_line(
    project: Path, source: str, expected: str
) -> None:
    (project / "mine.py").write_text(source)
    (project / "helper.py").write_text("\nimport no_such_package\n")
    with pytest.raises(WorkloadError) as caught:
        load("mine:built")
    assert str(caught.value).startswith(f"mine:built: {project / 'mine.py'}, line ")
    assert expected in str(caught.value)


def test_an_import_that_fails_inside_the_function_is_told_with_its_line(project: Path) -> None:
    (project / "mine.py").write_text(SOURCE)
    line = SOURCE.splitlines().index("    import no_such_package") + 1
    with pytest.raises(WorkloadError, match=f"mine.py, line {line}: No module named 'no_such"):
        load("mine:lazily")


def test_other_errors_of_the_users_code_come_through(project: Path) -> None:
    (project / "mine.py").write_text("built = 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load("mine:built")


def test_a_module_can_be_corrected_and_loaded_again(project: Path) -> None:
    with pytest.raises(WorkloadError, match="there is no module"):
        load("mine:built")
    (project / "mine.py").write_text(SOURCE)
    assert load("mine:built").name == "halves"


def test_a_data_dir_that_would_be_ignored_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="mine:built reads no data folder; leave out --data-dir"):
        load("mine:built", project)


@pytest.mark.parametrize(
    "data",
    [
        PAIR,
        list(PAIR),
        [PAIR, PAIR],
        DataLoader(TensorDataset(*PAIR), batch_size=2),
        DataLoader(Stream(), batch_size=None),
        Stream(),
    ],
)
def test_every_kind_of_data_is_accepted_untouched(data: object) -> None:
    before = torch.get_rng_state()
    workload = as_workload(duck(train=data, test=data), "here")
    assert workload.train is data
    assert workload.test is data
    assert torch.equal(torch.get_rng_state(), before)


def test_a_workload_of_ours_comes_back_as_it_is() -> None:
    ours = Workload("ours", lambda: nn.Linear(2, 3), PAIR, PAIR, nn.functional.cross_entropy)
    assert as_workload(ours, "here") == ours
    assert ours.metric == ACCURACY
    assert as_workload(duck(description="a line"), "here").description == "a line"


@pytest.mark.parametrize("field", ["name", "model", "train", "test", "loss", "metric"])
def test_a_missing_attribute_is_named(field: str) -> None:
    with pytest.raises(WorkloadError, match=rf"^here: .*has no {field}; a workload has name, mod"):
        as_workload(without(field), "here")


def metric(**changes: object) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(duck().metric), **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": 3}, "here: name: got an object of type int, expected a str"),
        ({"description": None}, "here: description: got an object of type NoneType"),
        ({"model": nn.Linear(1, 1)}, "here: model is a built Linear, expected a function that"),
        ({"model": "net"}, "here: model: got an object of type str, expected a function () ->"),
        ({"model": lambda width: None}, "here: model: cannot be called with no arguments"),
        ({"loss": 3}, "here: loss: got an object of type int, expected a function (outputs,"),
        ({"loss": lambda outputs: 0}, "here: loss: cannot be called with 2 arguments"),
        ({"loss": nn.CrossEntropyLoss}, "here: loss: got the class CrossEntropyLoss, expected"),
        ({"metric": None}, "here: metric: an object of type NoneType has no name, no per_example"),
        ({"metric": metric(direction="up")}, "here: metric: direction is 'up', expected 'max' or"),
        ({"metric": metric(direction=[])}, "here: metric: direction is [], expected 'max' or"),
        ({"metric": metric(per_example=1)}, "here: metric: per_example: got an object of type"),
        ({"metric": metric(name=1)}, "here: metric: name: got an object of type int"),
        ({"train": (torch.zeros(3), torch.zeros(4))}, "here: train: inputs of shape (3,) and"),
        ({"test": (torch.zeros(0), torch.zeros(0))}, "here: test: inputs of shape (0,) and"),
        ({"train": (x for x in [PAIR])}, "here: train: a generator can be read only once"),
        ({"test": iter([PAIR])}, "here: test: a list_iterator can be read only once"),
        ({"train": TensorDataset(*PAIR)}, "here: train: a TensorDataset gives single examples"),
        ({"train": torch.zeros(3)}, "here: train: got a tensor of shape (3,), expected two"),
        ({"train": (*PAIR, PAIR[0])}, "got a tuple of (Tensor, Tensor, Tensor), expected two"),
        ({"train": (PAIR[0], PAIR[1].numpy())}, "got a tuple of (Tensor, ndarray), expected two"),
        ({"train": []}, "here: train: got a list of (), expected two tensors"),
        ({"train": {"x": 1}}, "here: train: got an object of type dict"),
        ({"train": "mnist"}, "here: train: got an object of type str"),
        ({"train": None}, "here: train: got an object of type NoneType"),
    ],
)
def test_an_attribute_of_the_wrong_kind_is_named(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        as_workload(duck(**changes), "here")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_duck_typed_metric_becomes_ours() -> None:
    workload = as_workload(duck(), "here")
    assert isinstance(workload.metric, Metric)
    assert workload.metric.direction == "min"
    assert workload.metric.per_example(torch.ones(2, 3), torch.ones(2)).tolist() == [3.0, 3.0]
