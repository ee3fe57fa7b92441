"""What may be typed for a contestant, and what is said about all else."""

import copy
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import adamantine
from adamantine.errors import UsageError
from adamantine.optim.by_name import OPTIMIZERS, build
from adamantine.study.settings import literals
from adamantine.study.settings.contestants import (
    ALIASES,
    TORCH,
    UNSUITABLE,
    names,
    parse_contestant,
    parse_contestants,
    sources_of,
)

SOURCE = """
import torch
from torch.optim import SGD, Optimizer


class Mine(SGD):
    def __init__(self, params, lr=0.25, momentum=0.0):
        super().__init__(params, lr=lr, momentum=momentum)


class NoDefault(SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)


class Anything(SGD):
    def __init__(self, params, **kwargs):
        super().__init__(params, **kwargs)


class OtherName(SGD):
    def __init__(self, params, gamma=0.1):
        super().__init__(params, lr=gamma)


class Sharp(SGD):
    def step(self, closure):
        return super().step(closure)


class Asserts(SGD):
    def step(self, closure=None):
        assert closure is not None, "needs a closure"


class Random(SGD):
    def __init__(self, params, lr=0.1):
        torch.rand(3)
        super().__init__(params, lr=lr)


def function(params):
    return SGD(params)


class NotOne:
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "contestants_mine.py").write_text(SOURCE)
    (tmp_path / "contestants_broken.py").write_text("import no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


@pytest.mark.parametrize("name", names())
def test_all_that_are_listed_can_be_built_and_train(name: str) -> None:
    contestant = parse_contestant(name)
    model = nn.Linear(2, 1)
    before = copy.deepcopy(model.state_dict())
    optimizer = contestant.build(model, {"lr": 0.5})
    assert optimizer.param_groups[0]["lr"] == 0.5
    model(torch.ones(3, 2)).sum().backward()
    for _ in range(6):  # ADOPT's first one only looks, and so do four of RAdamScheduleFree's
        optimizer.step()
    assert all(not torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert pickle.loads(pickle.dumps(contestant)) == contestant


def test_classes_of_the_users_own_have_a_sum_of_their_source(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "contestants_mine", raising=False)  # another test's
    specs = ["adam", "torch:SGD", "contestants_mine:Mine", "contestants_mine:NoDefault:lr=1"]
    ours, torchs, mine, other = parse_contestants(specs)
    assert ours.source == torchs.source == ""
    assert mine.source == other.source != ""  # of the module: a class may call its functions
    assert sources_of([ours, mine]) == {"contestants_mine:Mine": mine.source}
    before = mine.source
    (project / "contestants_mine.py").write_text(SOURCE + "\nBETA = 0.9\n")
    assert mine.source not in ("", before)
    (project / "contestants_mine.py").unlink()
    assert mine.source == ""


def test_every_optimizer_of_ours_and_every_suitable_one_of_torch_is_listed() -> None:
    torchs = {f"torch:{name}" for name in TORCH} - {f"torch:{name}" for name in UNSUITABLE}
    assert set(names()) == {*OPTIMIZERS, *ALIASES, *torchs}


@pytest.mark.parametrize(
    ("spec", "name", "optimizer", "settings", "lr"),
    [
        ("adam", "adam", "adamantine.Adam", {}, 1e-3),
        (" adam: ", "adam", "adamantine.Adam", {}, 1e-3),
        ("adagrad", "adagrad", "adamantine.Adagrad", {}, 1e-2),
        ("adopt", "adopt", "adamantine.ADOPT", {}, 1e-3),
        ("momentum", "momentum", "adamantine.SGD", {"momentum": 0.9}, 1e-3),
        (
            "nesterov:momentum=0.95,lr=1",
            "nesterov(momentum=0.95,lr=1)",
            "adamantine.SGD",
            {"momentum": 0.95, "nesterov": True, "lr": 1},
            1.0,
        ),
        ("amsgrad", "amsgrad", "adamantine.Adam", {"amsgrad": True}, 1e-3),
        (
            "adamw:weight_decay=0.1, state_dtype=int8",
            "adamw(weight_decay=0.1,state_dtype=int8)",
            "adamantine.AdamW",
            {"weight_decay": 0.1, "state_dtype": "int8"},
            1e-3,
        ),
        (
            "adam:betas=(0.8, 0.9),max_grad_norm=1",
            "adam(betas=(0.8,0.9),max_grad_norm=1)",
            "adamantine.Adam",
            {"betas": (0.8, 0.9), "max_grad_norm": 1},
            1e-3,
        ),
        (
            "adam:betas=[0.8,0.9],amsgrad=True",
            "adam(betas=(0.8,0.9),amsgrad=true)",
            "adamantine.Adam",
            {"betas": (0.8, 0.9), "amsgrad": True},
            1e-3,
        ),
        ("torch:SGD:nesterov=false", "torch:SGD(nesterov=false)", "torch.optim.SGD",
         {"nesterov": False}, 1e-3),
        ("torch.optim:Adam", "torch.optim:Adam", "torch.optim.Adam", {}, 1e-3),
        ("adamantine:Lion", "adamantine:Lion", "adamantine.Lion", {}, 1e-4),
        ("contestants_mine:Mine", "contestants_mine:Mine", "contestants_mine.Mine", {}, 0.25),
        (
            "contestants_mine:NoDefault:lr=0.1",
            "contestants_mine:NoDefault(lr=0.1)",
            "contestants_mine.NoDefault",
            {"lr": 0.1},
            0.1,
        ),
        (
            "contestants_mine:Anything:lr=0.1,weight_decay=0.5",
            "contestants_mine:Anything(lr=0.1,weight_decay=0.5)",
            "contestants_mine.Anything",
            {"lr": 0.1, "weight_decay": 0.5},
            0.1,
        ),
    ],
)  # fmt: skip
def test_what_a_spec_means(
    project: Path, spec: str, name: str, optimizer: str, settings: dict, lr: float
) -> None:
    found = parse_contestant(spec)
    assert (found.name, found.spec, found.optimizer) == (name, spec.strip(), optimizer)
    assert found.settings == settings
    assert found.default_lr == lr
    assert parse_contestant(found.spec) == found
    group = found.build(nn.Linear(1, 1), {}).param_groups[0]
    assert {key: group[key] for key in settings if key in group} == {
        key: value for key, value in settings.items() if key in group
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "there is no optimizer ''"),
        ("Adam", "no optimizer 'Adam'; did you mean 'adam'.* own as module:Class"),
        ("adma:lr=1", "no optimizer 'adma'; did you mean 'adam'"),
        ("torch:Adma", "torch.optim has no 'Adma'; did you mean torch:Adam"),
        ("torch:lr=1", "no optimizer 'torch'"),
        ("torch:LBFGS", "LBFGS cannot take part: its step calls a closure"),
        ("torch:SparseAdam", "SparseAdam cannot take part: .*adam:sparse=lazy"),
        ("torch:Muon", "Muon cannot take part: it takes matrices only.*give muon"),
        ("torch.optim:LBFGS", "LBFGS.step needs closure"),
        ("torch.optim:Muon", "Muon only supports 2D parameters"),
        ("torch:Optimizer", "torch.optim has no 'Optimizer'"),
        ("torch.optim:Optimizer", "Optimizer is the base of optimizers"),
        ("adamantine.optim:RuleOptimizer", "RuleOptimizer is the base of optimizers"),
        ("adam:Adam", "'Adam' is no setting; expected name=value"),
        ("adam:lr=", "'lr=' is no setting"),
        ("adam:betas=0.9,0.99", r"'0.99' is no setting; .*betas=\(0.9,0.99\)"),
        ("adam:betas=0.9", r"betas is 0.9, expected 2 values in parentheses: betas=\(0.9,0.999\)"),
        ("adam:betas=(0.9,0.99,0.9)", "betas is .*, expected 2 values"),
        ("adam:betas=(0.9,1.5)", "Invalid beta parameter at index 1: 1.5"),
        ("adam:lr=1,lr=2", "lr is given twice"),
        ("adam:lr=(1", r"'\(' is never closed"),
        ("adam:lr=1)", r"nothing is open where '\)' closes it"),
        ("adam:lr=1+x", r"lr: '1\+x' is no value"),
        ("adam:lr=1e999", "lr: '1e999' is not a finite number"),
        ("adam:lr=b'x'", "is a bytes, which no setting can be"),
        ("adam:lr=0", "lr is 0, expected a number > 0"),
        ("adam:lr=true", "lr is True, expected a number > 0"),
        ("adam:lr=fast", "lr is 'fast', expected a number > 0"),
        ("adam:weigth_decay=1", "Adam has no setting 'weigth_decay'; did you mean 'weight_decay'"),
        ("adam:learning_rate=1", "did you mean 'lr'"),
        ("adam:params=1", "no setting 'params'"),
        ("torch:Adam:state_dtype=int8", "torch.optim.Adam has no setting 'state_dtype'"),
        ("adam:state_dtype=int7", "Invalid state_dtype: 'int7'"),
        ("adam:eps=small", "Adam does not work with eps=small: TypeError"),
        ("torch:Adam:weight_decay=-1", "does not work with weight_decay=-1: ValueError: Invalid"),
        ("sgd:nesterov=true", "Nesterov momentum requires a momentum"),
        ("no_such_module_here:X", "there is no module 'no_such_module_here' in the current folder"),
        ("mine.py:X", "mine.py is a path, expected the name of a module"),
        ("a b:X", "expected module:Class, e.g. my_module:MyOptimizer"),
        ("contestants_broken:X", "contestants_broken.py, line 1: No module named 'no_such_pack"),
        ("contestants_mine:Mime", "has no 'Mime'; did you mean 'Mine'"),
        ("contestants_mine:function", "it is a function, expected a subclass of torch.optim.Optim"),
        ("contestants_mine:NotOne", "it is NotOne, expected a subclass of torch.optim.Optimizer"),
        ("contestants_mine:NoDefault", "no default learning rate; give it one: lr=0.01"),
        ("contestants_mine:Anything", "no default learning rate; give it one: lr=0.01"),
        ("contestants_mine:Anything:lr=1,params=2", "no setting 'params'"),
        ("contestants_mine:OtherName", "no setting called lr, which a study changes"),
        ("contestants_mine:Sharp", "Sharp.step needs closure"),
        ("contestants_mine:Asserts", "AssertionError: needs a closure"),
    ],
)
def test_what_is_refused(project: Path, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_contestants(["adam", spec])
    assert str(raised.value).startswith("contestant ")
    assert "\n" not in str(raised.value)


def test_one_that_is_named_again_gets_a_number() -> None:
    specs = ["adam", "adam", "adam:lr=0.1", "adam", "adam:lr=0.10"]
    found = [contestant.name for contestant in parse_contestants(specs)]
    assert found == ["adam", "adam#2", "adam(lr=0.1)", "adam#3", "adam(lr=0.1)#2"]


def test_parameters_have_names_in_ours_only() -> None:
    model = nn.Linear(1, 1)
    for parameters in (model, list(model.named_parameters())):
        group = parse_contestant("adam").build(parameters, {}).param_groups[0]
        assert group["param_names"] == ["weight", "bias"]
        group = parse_contestant("torch:Adam").build(parameters, {}).param_groups[0]
        assert "param_names" not in group
        assert group["params"] == [model.weight, model.bias]


def test_a_model_goes_to_what_looks_at_its_modules() -> None:
    """An embedding that is called ``symbol``, as in these workloads, is known by its module."""
    model = nn.ModuleDict({"symbol": nn.Embedding(5, 4), "out": nn.Linear(4, 4)})
    optimizers = parse_contestant("muon").build(model, {}), build("muon", model, {})
    for optimizer in optimizers:
        (embedding, *_) = optimizer.assigned()
        assert (embedding.algorithm, embedding.why) == ("adamw", "embedding")


def test_values_come_in_place_of_what_was_typed() -> None:
    contestant = parse_contestant("adam:betas=(0.8,0.9),eps=1e-7")
    assert contestant.with_values({"betas.1": 0.95, "lr": 1.0}) == {
        "betas": (0.8, 0.95), "eps": 1e-7, "lr": 1.0,
    }  # fmt: skip
    assert parse_contestant("adam").with_values({"betas.0": 0.5}) == {"betas": (0.5, 0.999)}
    # As they are read from a journal.
    assert contestant.with_values({"betas": [0.5, 0.6]})["betas"] == (0.5, 0.6)
    assert contestant.settings == {"betas": (0.8, 0.9), "eps": 1e-7}


def test_looking_at_a_class_leaves_the_random_numbers_alone(project: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    parse_contestant("contestants_mine:Random")
    assert torch.equal(torch.random.get_rng_state(), before)


# Round trips and rubbish.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-999, 999)
    | st.floats(-1e9, 1e9)
    | st.text("'\"ab,;:=|()[]{}\\ é\n1")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab'(,"), inner, max_size=2)
    ),
)


@given(VALUES)
def test_what_is_written_is_read_back(value: object) -> None:
    text = literals.typed(value)
    assert repr(literals.value(text)) == repr(value)
    assert literals.split(f"{text},{text}", ",") == [text, text]


@given(st.dictionaries(st.sampled_from(["lr", "eps", "weight_decay"]), st.floats(1e-9, 9)))
def test_names_of_settings_are_specs(settings: dict[str, float]) -> None:
    text = ",".join(f"{name}={literals.typed(value)}" for name, value in settings.items())
    found = parse_contestant(f"adam:{text}")
    assert found.settings == settings
    assert parse_contestant(found.name.replace("(", ":").rstrip(")")) == type(found)(
        **{**vars(found), "spec": found.name.replace("(", ":").rstrip(")")}
    )


HEADS = st.sampled_from(["adam", "adamw", "sgd", "torch:Adam", "adamantine:Lion", "", "torch", "q"])
SETTINGS = st.sampled_from(["lr", "betas", "eps", "amsgrad", "sparse", "backend", "foreach", "x.0"])
WRITTEN = st.text("0123456789.e-+,=:'\"()[]{}|abTrue \\\x00") | VALUES.map(literals.typed)


@given(HEADS, st.lists(st.tuples(SETTINGS, WRITTEN), max_size=3))
def test_nothing_but_usage_errors(head: str, settings: list[tuple[str, str]]) -> None:
    with suppress(UsageError):
        parse_contestant(":".join([head, ",".join(f"{name}={text}" for name, text in settings)]))


@given(st.text("adm:=,()0.9 #'"))
def test_nothing_but_usage_errors_for_any_text(text: str) -> None:
    if ":" not in text or text.startswith("adam:"):  # others import what they name
        with suppress(UsageError):
            parse_contestant(text)


def test_ours_are_the_packages_own() -> None:
    for name in [*OPTIMIZERS, *ALIASES]:
        found = parse_contestant(name)
        assert getattr(adamantine, found.optimizer.removeprefix("adamantine.")) is found.cls
