"""Steps inside of ``backward()`` have the bits of steps after it, and hold one gradient at most."""

from __future__ import annotations

import copy
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adamantine
from cases import Case
from contract import every_case_one_by_one
from in_backward_cases import (
    STEPS,
    Network,
    assert_same_bits,
    live_gradients,
    train,
    train_in_backward,
    twins,
)


@every_case_one_by_one
def test_same_bits_as_step_after_backward(case: Case) -> None:
    plain, stepping = twins(case.ours, **case.settings)
    stepping[1].step_in_backward(stepping[0])
    train(*plain)
    train_in_backward(stepping[0])
    assert_same_bits(stepping, plain)
    assert torch.equal(stepping[0].never, torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("backend", ["auto", "lists", "reference"])
def test_same_bits_of_other_dtypes(dtype: torch.dtype, backend: str) -> None:
    models = []
    for in_backward in (False, True):
        torch.manual_seed(0)
        model = nn.ParameterList([torch.randn(6, dtype=dtype), torch.randn(6, dtype=dtype)])
        optimizer = adamantine.AdamW(model.parameters(), backend=backend)
        if in_backward:
            optimizer.step_in_backward(model)
        for _ in range(3):
            (model[0] * model[1]).abs().square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        models.append((model, optimizer))
    assert_same_bits(*models)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", ["AdamW", pytest.param("SGD", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        (torch.float32, {"state_dtype": "int8"}),
        (torch.float32, {"state_dtype": "bfloat16", "rounding_seed": 3}),
        (torch.bfloat16, {"state_dtype": "int8", "param_rounding": "stochastic"}),
        (torch.bfloat16, {"param_rounding": "kahan"}),
        (torch.bfloat16, {"master": "24bit"}),
    ],
)
def test_same_random_numbers_for_what_is_rounded(
    backend: str, name: str, dtype: torch.dtype, settings: dict[str, Any]
) -> None:
    if name == "SGD":
        settings = {**settings, "momentum": 0.9, "dampening": 0.5}
    plain, stepping = twins(getattr(adamantine, name), dtype, backend=backend, **settings)
    stepping[1].step_in_backward(stepping[0])
    train(*plain)
    train_in_backward(stepping[0])
    assert_same_bits(stepping, plain)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SGD", {"momentum": 0.9, "dampening": 0.5}),
        ("Adam", {"sparse": "lazy"}),
        ("AdamW", {"sparse": "exact"}),
        ("Adagrad", {}),
    ],
)
def test_sparse_gradients(name: str, settings: dict[str, Any]) -> None:
    results = []
    for in_backward in (False, True):
        network = Network(sparse=True)
        optimizer = getattr(adamantine, name)(network.parameters(), **settings)
        if settings.get("sparse") == "exact":
            optimizer.attach(network.table)
        if in_backward:
            optimizer.step_in_backward(network)
        train(network, optimizer, 8)
        results.append((network, optimizer))
    assert_same_bits(*results)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_schedules_and_groups_are_followed(name: str) -> None:
    results = []
    for in_backward in (False, True):
        network = Network()
        groups = [
            {"params": [network.table.weight, network.seldom], "lr": 1e-2},
            {"params": [*network.layer.parameters(), network.never], "weight_decay": 0.1},
        ]
        optimizer = getattr(adamantine, name)(groups)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        if in_backward:
            optimizer.step_in_backward(network)
        for number in range(STEPS):
            network.loss(number).backward()
            if not in_backward:  # and the scheduler does not say that step() was forgotten
                optimizer.step()
                optimizer.zero_grad()
            schedule.step()
        results.append((network, optimizer))
    assert_same_bits(*results)


def test_a_rule_of_other_states_from_the_middle_on() -> None:
    plain, stepping = twins(adamantine.Adam)
    stepping[1].step_in_backward(stepping[0])
    for amsgrad in (False, True, False):
        for network, optimizer in (plain, stepping):
            optimizer.param_groups[0]["amsgrad"] = amsgrad
            train(network, optimizer, 2)
    assert_same_bits(stepping, plain)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_loaded_state_goes_on(name: str) -> None:
    settings = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    cls = getattr(adamantine, name)
    plain, stepping = twins(cls, **settings)
    stepping[1].step_in_backward(stepping[0])
    train_in_backward(stepping[0])
    saved = stepping[1].state_dict(), stepping[0].state_dict()
    saved = copy.deepcopy(saved)
    train_in_backward(stepping[0], 3)
    for network, optimizer in (plain, stepping):
        network.load_state_dict(saved[1])
        optimizer.load_state_dict(copy.deepcopy(saved[0]))
        optimizer.param_groups[0]["lr"] = 0.02
    train(*plain, start=STEPS)
    train_in_backward(stepping[0], start=STEPS)
    assert_same_bits(stepping, plain)


# Accumulation


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_accumulated_gradients_step_in_the_last_micro_batch(micro: int) -> None:
    plain, stepping = twins(adamantine.AdamW)
    handle = stepping[1].step_in_backward(stepping[0])
    for step in range(3):
        for number in range(micro):
            batch, before = step * micro + number, _copy(stepping[0])
            plain[0].loss(batch, 1 / micro).backward()
            with handle.accumulate(when=number < micro - 1):
                stepping[0].loss(batch, 1 / micro).backward()
            if number < micro - 1:
                assert all(map(torch.equal, before, stepping[0].parameters()))
        # `seldom` may have its gradient from an earlier micro-batch alone.
        assert live_gradients(stepping[0]) == 0
        plain[1].step()
        plain[1].zero_grad()
    assert_same_bits(stepping, plain)


def test_accumulate_ends_with_an_error_and_nests() -> None:
    network = Network()
    optimizer = adamantine.SGD(network.parameters())
    handle = optimizer.step_in_backward(network)
    with pytest.raises(KeyError), handle.accumulate():
        raise KeyError
    with handle.accumulate():
        with handle.accumulate(), handle.accumulate(when=False):
            network.loss(0).backward()
        network.loss(0).backward()
    assert live_gradients(network) == 3
    network.loss(0).backward()
    assert live_gradients(network) == 0


def test_step_takes_what_only_accumulated() -> None:
    plain, stepping = twins(adamantine.AdamW)
    handle = stepping[1].step_in_backward(stepping[0])
    for network, optimizer in (plain, stepping):
        with handle.accumulate():
            network.loss(1).backward()
            network.loss(2).backward()
        optimizer.step()
    assert live_gradients(stepping[0]) == 0
    assert_same_bits(stepping, plain)


# Clipping


def test_clips_by_the_norm_of_the_step_before() -> None:
    limit, (plain, stepping) = 0.9, twins(adamantine.AdamW, torch.float64, eps=1e-3)
    network = stepping[0]
    optimizer = adamantine.AdamW(network.parameters(), eps=1e-3, max_grad_norm=limit)
    handle = optimizer.step_in_backward(network, clip_by_previous_norm=True)
    assert handle.previous_norm is None
    previous, factors = None, []
    for number in range(6):
        plain[0].loss(number, 10.0 if number == 2 else 0.3).backward()
        network.loss(number, 10.0 if number == 2 else 0.3).backward()
        params = [p for p in plain[0].parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in params])
        factors.append(1.0 if previous is None else min(1.0, limit / (previous + 1e-6)))
        for param in params:
            param.grad *= factors[-1]
        plain[1].step()
        plain[1].zero_grad()
        previous = float(norm)
        assert handle.previous_norm == pytest.approx(previous, rel=1e-12)
        optimizer.step()  # nothing left; the norm stays
        assert handle.previous_norm == pytest.approx(previous, rel=1e-12)
    assert min(factors) < 0.2
    assert factors.count(1.0) > 1
    torch.testing.assert_close(
        list(network.parameters()), list(plain[0].parameters()), rtol=1e-12, atol=0
    )


@every_case_one_by_one
def test_the_factor_reaches_every_rule(case: Case) -> None:
    """A norm set by hand, against gradients that were scaled by hand."""
    plain, stepping = twins(case.ours, **case.settings)
    optimizer = case.ours(stepping[0].parameters(), **case.settings, max_grad_norm=1.0)
    handle = optimizer.step_in_backward(stepping[0], clip_by_previous_norm=True)
    for number in range(3):
        handle.previous_norm = 4.0 - 1e-6  # a factor of 1/4, which no product rounds
        plain[0].loss(number).backward()
        for param in plain[0].parameters():
            if param.grad is not None:
                param.grad *= 0.25
        plain[1].step()
        plain[1].zero_grad()
        stepping[0].loss(number).backward()
    assert_same_bits((stepping[0], optimizer), plain)


def test_the_norm_counts_sparse_complex_and_strided_gradients() -> None:
    model = nn.Module()
    model.table = nn.Embedding(5, 3, sparse=True)
    model.rotation = nn.Parameter(torch.randn(70_000, dtype=torch.complex64))
    model.image = nn.Parameter(torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    optimizer = adamantine.SGD(model.parameters(), lr=1e-3, max_grad_norm=1.0)
    handle = optimizer.step_in_backward(model, clip_by_previous_norm=True)

    def loss() -> Tensor:
        words = model.table(torch.tensor([1, 1, 4])).square().sum()
        return words + model.rotation.abs().square().sum() + model.image.pow(3).sum()

    grads = torch.autograd.grad(loss(), list(model.parameters()))
    expected = math.sqrt(sum(float(g.to_dense().abs().double().square().sum()) for g in grads))
    loss().backward()
    assert handle.previous_norm == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_norm_that_is_not_finite_is_not_kept(value: float) -> None:
    (_, (network, _)) = twins(adamantine.SGD)
    optimizer = adamantine.SGD(network.parameters(), max_grad_norm=0.1)
    handle = optimizer.step_in_backward(network, clip_by_previous_norm=True)
    network.loss(0).backward()
    before = handle.previous_norm
    network.loss(1, value).backward()
    assert handle.previous_norm == before is not None


# Memory


def test_one_gradient_at_most_is_alive() -> None:
    """Counted before each update, over all gradients that there ever were."""
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    alive: set[int] = set()
    counts, sizes = [], []

    def note(param: Tensor) -> None:
        number = len(counts)
        alive.add(number)
        weakref.finalize(param.grad, alive.discard, number)
        counts.append(len(alive))
        sizes.append(param.grad.nbytes)

    for param in model.parameters():
        param.register_post_accumulate_grad_hook(note)
    optimizer = adamantine.AdamW(model.parameters(), max_grad_norm=1.0)
    optimizer.step_in_backward(model, clip_by_previous_norm=True)
    for _ in range(3):
        model(torch.randn(4, 8)).square().sum().backward()
    assert counts == [1] * 30
    assert not alive
    assert max(sizes) == 8 * 8 * 4  # of 5 * (8 * 8 + 8) * 4 bytes


def test_gradients_allocated_during_backward_are_one() -> None:
    """torch's own count of bytes: the most that a pass has above where it began."""
    width, layers = 256, 6
    peaks = []
    for in_backward in (False, True):
        model = nn.ParameterList(torch.randn(width, width) for _ in range(layers))
        optimizer = adamantine.SGD(model.parameters(), lr=1e-3)
        if in_backward:
            optimizer.step_in_backward(model)
        for _ in range(2):  # the second has its plans made
            loss = sum((p * p).sum() for p in model)
            with torch.profiler.profile(profile_memory=True) as profile:
                loss.backward()
            optimizer.zero_grad()
        peaks.append(_peak(profile))
    one = width * width * 4
    assert peaks[0] >= layers * one
    assert peaks[1] <= 2 * one + 4096  # with what the product's own backward has in hand


def _peak(profile: torch.profiler.profile) -> int:
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def _copy(network: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in network.parameters()]
