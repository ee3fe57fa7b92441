"""Where a search begins: at each optimizer's defaults, as far as the space has them."""

import json
from dataclasses import replace

import cheap
import pytest
import torch
from optuna.trial import FixedTrial

from adamantine.study import tune
from adamantine.study.settings.contestants import names, parse_contestants
from adamantine.study.settings.space import own_space
from adamantine.study.tune.suggest import Setting, Spaces
from study.searches import PLAN

USUAL = {"batch_size": 64, "schedule": "none"}


def started(specs, texts=()):
    """The settings of the first trials."""
    spaces = Spaces(parse_contestants(specs), texts)
    return [spaces.suggest(FixedTrial(start)) for start in spaces.starts(USUAL)]


@pytest.mark.parametrize("name", names())
def test_at_the_defaults_or_at_the_nearer_end(name):
    (contestant,) = parse_contestants([name])
    (first,) = started([name])
    expected = {}
    for setting, values in own_space(contestant).items():
        default = contestant.default(setting)
        # No range on a log scale has the 0 that weight decay is by default.
        expected[setting] = default if default in values else values.low
    assert first == Setting(name, first.settings, {})
    assert {**contestant.with_values(expected)} == {**contestant.settings, **first.settings}


@pytest.mark.parametrize(
    ("spec", "space", "settings", "training"),
    [
        ("sgd", "lr=1e-6:1e-4:log", {"lr": 1e-4}, {}),
        ("sgd", "lr=0.1:1", {"lr": 0.1}, {}),
        ("sgd:lr=0.5", "lr=0.1:1", {"lr": 0.5}, {}),
        ("adam", "betas.1=0.9:0.99:complement", {"betas": (0.9, 0.99)}, {}),
        ("adam", "betas=(0.8,0.9)|(0.9,0.999)", {"betas": (0.9, 0.999)}, {}),
        ("adam", "amsgrad=true|false", {"amsgrad": False}, {}),
        ("adadelta", "lr=1|0.1", {"lr": 1.0}, {}),
        ("adam:lr=0.00123456", "eps=1e-9:1e-7", {"lr": 0.00123456}, {}),
        ("adam", "betas.1=0.9:0.99987654", {"betas": (0.9, 0.999)}, {}),
        ("adam", "betas.1=0.9:0.99876543", {"betas": (0.9, 0.99876543)}, {}),
        ("sgd", "batch_size=32|64,schedule=cosine|none", {}, USUAL),
    ],
)
def test_with_a_space_of_the_users(spec, space, settings, training):
    (first,) = started([spec], [space])
    (contestant,) = parse_contestants([spec])
    assert settings.items() <= contestant.with_values(first.settings).items()
    assert first.training == training


def test_what_is_drawn_has_three_digits():
    spaces = Spaces(parse_contestants(["adam:lr=0.00123456"]), ["betas=(0.8,0.9)|(0.9,0.999)"])
    assert list(spaces.spaces["adam(lr=0.00123456)"]) == ["lr", "eps", "weight_decay", "betas"]
    drawn = {"lr": 0.00234567, "eps": 1.23456e-8, "weight_decay": 0.0123456, "betas": "(0.8,0.9)"}
    assert spaces.suggest(FixedTrial(drawn)).settings == {
        "lr": 0.00235,
        "eps": 1.23e-8,
        "weight_decay": 0.0123,
        "betas": (0.8, 0.9),
    }


def test_a_range_stays_in_its_place():
    spaces = Spaces(parse_contestants(["adam"]), ["betas.1=0.9:0.99,lr=1e-4:1e-2:log"])
    assert (
        list(spaces.spaces["adam"])[:2]
        == list(Spaces(parse_contestants(["adam"]), []).spaces["adam"])[:2]
    )


def test_what_is_not_among_the_options_is_left_to_the_sampler():
    texts = [
        "amsgrad=true|false,betas=(0.8,0.9)|(0.7,0.9)",
        "batch_size=16|32,schedule=none|cosine",
    ]
    (start,) = Spaces(parse_contestants(["adam"]), texts).starts(USUAL)
    assert set(start) == {"lr", "eps", "weight_decay", "amsgrad", "schedule"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_each_optimizer_begins(sampler):
    specs = ("sgd:momentum=0.9", "adam")
    found = tune(cheap.workload, replace(PLAN, contestants=specs, trials=5, sampler=sampler))
    tried = [(trial.run.contestant, trial.run.settings) for trial in found.trials]
    begins = [(first.contestant, first.settings) for first in started(specs)]
    assert json.dumps(tried[:2]) == json.dumps(begins)  # which knows no tuples
    assert all(later not in tried[:2] for later in tried[2:])


def test_the_defaults_are_not_compared_with_themselves():
    """What has no other setting than its learning rate begins exactly at its defaults."""
    one = tune(cheap.workload, replace(PLAN, contestants=("cheap:Shaken",), trials=1))
    assert one.trials[0].run.settings == {"lr": 1e-2}
    assert one.tuned is None
    assert one.best.settings == {}
    assert "apart from the defaults no trial came to its end" in one.verdict[0].sentence
    more = tune(cheap.workload, replace(PLAN, contestants=("cheap:Shaken",)))
    assert all(c.settings["lr"] != 1e-2 for c in more.candidates if c.role == "found")


@pytest.mark.parametrize(("sizes", "found"), [("16|48", True), ("16|32", False)])
def test_the_defaults_with_other_batches_are_another_setting(sizes, found):
    plan = replace(PLAN, contestants=("cheap:Shaken",), space=(f"batch_size={sizes}",), trials=1)
    record = tune(cheap.workload, plan)
    assert record.trials[0].run.settings == {"lr": 1e-2}
    assert (
        (record.tuned is not None) == found == (record.trials[0].run.training != {"batch_size": 32})
    )


class Anything(torch.optim.SGD):
    """Nobody but itself knows what it takes."""

    def __init__(self, params, lr=0.1, **others):
        assert others.keys() <= {"momentum"}
        super().__init__(params, lr, others.get("momentum") or 0.0)


def test_a_class_that_takes_anything_begins_where_it_is_known():
    spec = f"{__name__}:Anything"
    (start,) = Spaces(parse_contestants([spec]), [f"{spec}:momentum=0:0.9"]).starts(USUAL)
    assert start == {"lr": 0.1}
    texts = [f"{spec}:momentum=none|0.5"]
    assert Spaces(parse_contestants([spec]), texts).starts(USUAL) == [start]
