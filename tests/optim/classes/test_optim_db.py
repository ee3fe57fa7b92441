"""PyTorch's database of optimizers as an oracle: every configuration, every refusal.

``torch.testing._internal.common_optimizers.optim_db`` is what PyTorch tests its own classes with.
It lists, for each class, constructor arguments that must work, those that must fail, and with which
error. Here all of them go through our class of the same name.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch

import adamantine
from torch_database import (
    SHARED,
    SPARSE_ONLY,
    TOLERANCE,
    Network,
    assert_same,
    both,
    database,
    every_class_of_both,
    every_shared_class,
    every_shared_class_and_dtype,
    network_of,
    tolerance,
)

STEPS = 12


def configurations(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Every entry of torch's database, alone and with each of foreach, fused and differentiable."""
    info = database()[name]
    from torch.testing._internal.common_optimizers import (
        _get_optim_inputs_including_global_cliquey_kwargs as including_implementations,
    )

    inputs = [*info.optim_inputs_func(device="cpu")]
    inputs += including_implementations("cpu", torch.float32, info)
    return [(f"{entry.desc} {entry.kwargs}", entry.kwargs) for entry in inputs]


def test_the_database_has_all_our_classes() -> None:
    assert {"Adam", "AdamW", "Adamax", "RMSprop", "SGD"} <= set(SHARED)
    assert set(SHARED) <= database().keys()
    for name in SHARED:
        assert len(configurations(name)) >= {"Muon": 7, "Adafactor": 10}.get(name, 11)


def test_every_class_of_torch_that_is_ours_is_among_them() -> None:
    ours = {name for name in adamantine.ours() if hasattr(torch.optim, name)}
    assert ours == {*SHARED, *SPARSE_ONLY}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPARSE_ONLY)
def test_sparse_configurations(name: str, dtype: torch.dtype, subtests: pytest.Subtests) -> None:
    ours, theirs = both(name)
    for entry in database()[name].optim_inputs_func(device="cpu"):
        with subtests.test(str(entry)):
            mine, other = (_Tables(dtype) for _ in range(2))
            optimizer, oracle = ours(mine.params, **entry.kwargs), theirs(
                other.params, **entry.kwargs
            )  # fmt: skip
            mine.train(optimizer, STEPS)
            other.train(oracle, STEPS)
            # Torch computes with a learning rate in a tensor's own dtype, which is float32.
            coarse = isinstance(entry.kwargs.get("lr"), torch.Tensor)
            kept = TOLERANCE[torch.float32 if coarse else dtype]
            assert_same((mine, optimizer), (other, oracle), **kept)


class _Tables(Network):
    """The network without what has no rows, all of its gradients sparse."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dtype, sparse=True)
        self.params[2] = self.params[2].detach().reshape(1).requires_grad_()


@every_shared_class_and_dtype
def test_configurations(name: str, dtype: torch.dtype, subtests: pytest.Subtests) -> None:
    ours, theirs = both(name)
    for description, settings in configurations(name):
        # Torch's differentiable steps take β^t of a float32 step count, whatever the dtype. The
        # switch must not change the numbers, so the oracle is torch without it.
        takes = "differentiable" in inspect.signature(theirs).parameters
        without = {**settings, "differentiable": False} if takes else settings
        with subtests.test(description):
            mine, other = (
                network_of(
                    name,
                    dtype,
                    leaves=not switches.get("differentiable"),
                    sparse=database()[name].only_supports_sparse_grads,
                )
                for switches in (settings, without)
            )
            optimizer = ours(mine.params, **copy.deepcopy(settings))
            oracle = theirs(other.params, **copy.deepcopy(without))
            mine.train(optimizer, STEPS)
            other.train(oracle, STEPS)
            if takes:
                oracle.param_groups[0]["differentiable"] = settings.get("differentiable", False)
            kept = tolerance(dtype, oracle)
            if name == "Muon" and isinstance(settings.get("lr"), torch.Tensor):
                kept = TOLERANCE[torch.float32]  # torch computes in the tensor's own dtype
            assert_same((mine, optimizer), (other, oracle), **kept)


@every_class_of_both
def test_errors(name: str, subtests: pytest.Subtests) -> None:
    info = database()[name]
    ours, _ = both(name)
    from torch.testing._internal.common_optimizers import OptimizerErrorEnum

    for entry in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        if entry.optimizer_error_input.desc == "only support 2D parameters":
            continue  # ours takes batches of matrices
        params, settings = entry.optimizer_error_input.params, entry.optimizer_error_input.kwargs
        raised = pytest.warns if issubclass(entry.error_type, Warning) else pytest.raises
        with subtests.test(entry.optimizer_error_input.desc):
            if entry.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
                with raised(entry.error_type, match=entry.error_regex):
                    ours(params, **settings)
            else:
                optimizer = ours(params, **settings)
                with raised(entry.error_type, match=entry.error_regex):
                    optimizer.step()


@every_shared_class
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # of torch's Adagrad
def test_sparse_gradients_where_torch_takes_them(name: str) -> None:
    info = database()[name]
    if not (info.supports_sparse or info.only_supports_sparse_grads):
        for cls in both(name):
            network = network_of(name, torch.float32, sparse=True)
            before = [p.detach().clone() for p in network.params]
            with pytest.raises(RuntimeError, match=r"^\w+ does not support sparse gradients"):
                network.train(cls(network.params), 1)
            assert all(map(torch.equal, before, network.params))
        return
    if "sparse" not in inspect.signature(both(name)[0]).parameters:
        pytest.skip(f"{name} has no sparse gradients in this version")
    settings, schedulers = info.metadata_for_sparse
    sides = []
    for cls in both(name):
        network = network_of(name, torch.float32, sparse=True)
        optimizer = cls(network.params, **settings)
        schedules = [make(optimizer) for make in schedulers]
        network.train(optimizer, STEPS, lambda loss, them=schedules: advance(them, loss))
        sides.append((network, optimizer))
    assert_same(*sides, **TOLERANCE[torch.float32])


@every_shared_class_and_dtype
def test_schedulers(name: str, dtype: torch.dtype, subtests: pytest.Subtests) -> None:
    info = database()[name]
    for index, makers in enumerate(info.scheduler_inputs):
        for settings in ({}, {"lr": torch.tensor(0.01, dtype=dtype)}):
            with subtests.test(f"schedulers {index}, {settings}"):
                sides = []
                for cls in both(name):
                    network = network_of(name, dtype)
                    optimizer = cls(network.groups(lr=3e-3), **copy.deepcopy(settings))
                    schedules = [make(optimizer) for make in makers]
                    network.train(optimizer, 25, lambda loss, them=schedules: advance(them, loss))
                    sides.append((network, optimizer))
                assert_same(*sides, **tolerance(dtype, optimizer))


def advance(schedules: list[Any], loss: torch.Tensor) -> None:
    for schedule in schedules:
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            schedule.step(loss)
        else:
            schedule.step()
