"""Parameter groups by rules over names, and the split for weight decay."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import adamantine
from adamantine.errors import UsageError


class Tiny(nn.Module):
    """A transformer's parts in small: tied embedding, norms, attention with odd-shaped biases."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.norm = nn.LayerNorm(4)
        self.groups_norm = nn.GroupNorm(2, 4)
        self.experts = nn.Module()
        self.experts.bias = nn.Parameter(torch.zeros(3, 4))
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(4, 7)
        self.head.weight = self.wte.weight


def names(groups: list[dict]) -> list[list[str]]:
    return [[name for name, _ in group["params"]] for group in groups]


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_the_first_match_wins_and_settings_are_kept() -> None:
    groups = adamantine.groups(
        small(), {r"\.bias$": {"weight_decay": 0.0}, "^2": {"lr": 0.5}, ".*": {}}
    )
    assert names(groups) == [["0.bias", "2.bias"], ["2.weight"], ["0.weight"]]
    assert [{k: v for k, v in g.items() if k != "params"} for g in groups] == [
        {"weight_decay": 0.0},
        {"lr": 0.5},
        {},
    ]


def test_patterns_predicates_and_compiled_expressions_mix() -> None:
    rules = [
        (lambda name, param: param.dim() == 1 and name.startswith("0"), {"lr": 1.0}),
        (re.compile("BIAS", re.IGNORECASE), {"lr": 2.0}),
    ]
    groups = adamantine.groups(small(), rules, default={"lr": 3.0})
    assert names(groups) == [["0.bias"], ["2.bias"], ["0.weight", "2.weight"]]
    assert [g["lr"] for g in groups] == [1.0, 2.0, 3.0]


def test_pairs_are_accepted_in_place_of_a_model() -> None:
    model = small()
    pairs = adamantine.groups(model.named_parameters(), {".*": {}})
    assert names(pairs) == names(adamantine.groups(model, {".*": {}}))


def test_default_may_be_left_with_nothing() -> None:
    assert len(adamantine.groups(small(), {"weight": {}, "bias": {}}, default={})) == 2


def test_one_settings_dictionary_can_serve_two_rules() -> None:
    shared = {"lr": 0.1}
    model = small()
    optimizer = adamantine.SGD(adamantine.groups(model, {"weight": shared, "bias": shared}))
    optimizer.param_groups[0]["lr"] = 7.0
    assert optimizer.param_groups[1]["lr"] == 0.1
    assert shared == {"lr": 0.1}


@pytest.mark.parametrize("module", [adamantine, torch.optim], ids=["ours", "torch"])
def test_names_stay_in_the_state(module: object) -> None:
    model = small()
    optimizer = module.AdamW(adamantine.groups(model, {"bias": {"weight_decay": 0.0}, ".*": {}}))
    state = optimizer.state_dict()
    assert [g["param_names"] for g in state["param_groups"]] == [
        ["0.bias", "2.bias"],
        ["0.weight", "2.weight"],
    ]


def test_tied_parameters_appear_once_and_match_under_each_name() -> None:
    model = Tiny()
    groups = adamantine.groups(model, {r"^head\.weight$": {"lr": 1.0}, ".*": {}})
    assert names(groups)[0] == ["wte.weight"]
    assert "head.weight" not in names(groups)[1]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    model = small()
    model[0].requires_grad_(False)
    assert names(adamantine.groups(model, {".*": {}})) == [["2.weight", "2.bias"]]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"biass": {}, ".*": {}}, r"'biass' matches no parameter; the model has '0.weight', "),
        ({"bias": {}}, r"no rule covers '0.weight', '2.weight'; .* default=\{\}"),
        ({"0": {}, ".*": {}, "2.b": {}}, r"'2.b' matches '2.bias', but .*\('\.\*'\) have taken"),
        ({"(": {}}, r"'\(' is no regular expression"),
        ({"bias": {"params": []}, ".*": {}}, r"rule 'bias' hold 'params'"),
        ({"bias": 0.1, ".*": {}}, "settings of the rule 'bias' are 0.1"),
        ([(3, {})], "got 3"),
    ],
)
def test_rules_that_cannot_be_meant_are_errors(rules: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adamantine.groups(small(), rules)


def test_a_predicate_is_called_by_its_name_in_messages() -> None:
    def is_matrix(_: str, param: Tensor) -> bool:
        return param.dim() > 4

    with pytest.raises(UsageError, match="the rule is_matrix matches no parameter"):
        adamantine.groups(small(), [(is_matrix, {})])


def test_a_rule_for_frozen_parameters_only_is_an_error() -> None:
    model = small()
    model[0].requires_grad_(False)
    with pytest.raises(UsageError, match=r"'\^0' matches frozen parameters only \('0.weight'"):
        adamantine.groups(model, {"^0": {}, ".*": {}})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.ReLU(), "it has no parameters"),
        (nn.Linear(2, 2).requires_grad_(False), "all of its parameters are frozen"),
        (nn.Linear(2, 2).parameters(), r"pass the model, or model\.named_parameters\(\)"),
    ],
    ids=["none", "frozen", "unnamed"],
)
def test_models_with_nothing_to_group_are_errors(model: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adamantine.groups(model, {".*": {}})


@pytest.mark.parametrize("embeddings", [False, True])
def test_no_decay_is_the_usual_split(embeddings: bool) -> None:
    decaying, resting = names(adamantine.no_decay(Tiny(), embeddings=embeddings))
    matrices = ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert set(decaying) == {*matrices, *([] if embeddings else ["wte.weight"])}
    everything = {name for name, _ in Tiny().named_parameters()}
    assert set(resting) == everything - set(decaying)


def test_no_decay_is_nanogpts_split_for_its_kind_of_model() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False
    )
    # configure_optimizers of nanoGPT's model.py
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    nanogpt = [
        [n for n, p in params.items() if p.dim() >= 2],
        [n for n, p in params.items() if p.dim() < 2],
    ]
    assert names(adamantine.no_decay(model)) == nanogpt


def test_no_decay_leaves_the_decay_to_the_optimizer_unless_told() -> None:
    model = small()
    for groups in (adamantine.no_decay(model), adamantine.no_decay(model, 0.25)):
        optimizer = adamantine.AdamW(groups, weight_decay=0.25)
        assert [g["weight_decay"] for g in optimizer.param_groups] == [0.25, 0.0]


def test_no_decay_knows_a_norm_of_any_shape_and_a_parametrized_embedding() -> None:
    model = nn.Sequential(nn.LayerNorm((3, 4)), nn.Embedding(5, 6), nn.Linear(2, 2, bias=False))
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Tanh())
    decaying, resting = names(adamantine.no_decay(model, embeddings=True))
    assert decaying == ["2.weight"]
    assert resting == ["0.weight", "0.bias", "1.parametrizations.weight.original"]


def test_no_decay_leaves_out_an_empty_group() -> None:
    assert names(adamantine.no_decay(nn.Linear(2, 2, bias=False))) == [["weight"]]
