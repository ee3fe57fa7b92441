"""Optimizers as other packages have them, behind one face; missing packages are left out."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.memory import Held, held

Build = Callable[[list[Tensor]], torch.optim.Optimizer]
Work = Callable[[torch.optim.Optimizer, list[Tensor]], None]


class Subject(Protocol):
    """Parameters, an optimizer, and what a turn of it takes."""

    def turn(self) -> int:
        """Do one step with new gradients; the nanoseconds of the step alone."""

    def held(self) -> Held:
        """What the optimizer holds."""


class TorchSubject:
    """Any ``torch.optim.Optimizer``, with `work` as what is timed.

    `prepare` is done to the parameters before each turn, and not timed.
    """

    def __init__(
        self,
        build: Build,
        grads: Sequence[Tensor],
        work: Work,
        prepare: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> None:
        self._grads = grads
        self._params = [torch.ones_like(grad, requires_grad=True) for grad in grads]
        self._optimizer = build(self._params)
        self._work, self._prepare = work, prepare

    def turn(self) -> int:
        if self._prepare is not None:
            self._prepare(self._params)
        for param, grad in zip(self._params, self._grads, strict=True):
            param.grad = grad.clone()
        start = perf_counter_ns()
        self._work(self._optimizer, self._params)
        end = perf_counter_ns()
        self._optimizer.zero_grad()
        return end - start

    def held(self) -> Held:
        return held(self._optimizer)


class OptaxSubject:
    """One of Optax and ``apply_updates`` in one compiled function that reuses its arguments."""

    def __init__(self, path: str, grads: Sequence[Tensor], **settings: Any) -> None:
        import jax
        import optax

        self._jax = jax
        transformation = attrgetter(path)(optax)(1e-3, **settings)

        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = transformation.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self._step = jax.jit(step, donate_argnums=(0, 1))
        self._grads = [jax.numpy.asarray(grad.numpy()) for grad in grads]
        params = [jax.numpy.ones_like(grad) for grad in self._grads]
        # A state may begin as the parameters themselves, and no buffer can be reused twice.
        state = jax.tree.map(jax.numpy.copy, transformation.init(params))
        self._held = (params, state)

    def turn(self) -> int:
        grads = self._jax.block_until_ready([grad.copy() for grad in self._grads])
        start = perf_counter_ns()
        self._held = self._jax.block_until_ready(self._step(*self._held, grads))
        return perf_counter_ns() - start

    def held(self) -> Held:
        return Held(sum(leaf.nbytes for leaf in self._jax.tree.leaves(self._held[1])))


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Parameters
    ----------
    label
        The call, as one would write it.
    needs
        The package that it comes from.
    make
        Builds its subject for gradients.
    only_small
        Differs from another contender for small tensors alone.
    """

    label: str
    needs: str
    make: Callable[[Sequence[Tensor]], Subject]
    only_small: bool = False


def step_alone(optimizer: torch.optim.Optimizer, _params: list[Tensor]) -> None:
    """What is usually timed."""
    optimizer.step()


def of_torch(
    path: str,
    work: Work = step_alone,
    around: str = "{}",
    only_small: bool = False,
    prepare: Callable[[Sequence[Tensor]], None] | None = None,
    **settings: Any,
) -> Contender:
    """A ``torch.optim.Optimizer`` by where it is found, at its defaults but for `settings`.

    `work` is what is timed, and `around` says in the label what it is. `prepare` is done to the
    parameters before.
    """
    module, _, name = path.rpartition(".")
    arguments = ", ".join(f"{key}={value!r}" for key, value in settings.items())

    def make(grads: Sequence[Tensor]) -> Subject:
        optimizer = getattr(importlib.import_module(module), name)
        return TorchSubject(lambda params: optimizer(params, **settings), grads, work, prepare)

    label = around.format(f"{path}({arguments})")
    return Contender(label, module.partition(".")[0], make, only_small)


def in_bfloat16(contender: Contender) -> Contender:
    """The same with parameters and gradients in bfloat16."""
    return replace(
        contender,
        label=f"{contender.label}, bfloat16 parameters",
        make=lambda grads: contender.make([grad.bfloat16() for grad in grads]),
    )


def of_optax(path: str = "adam", **settings: Any) -> Contender:
    """One of Optax by where it is found, such as ``contrib.ademamix``."""
    arguments = ", ".join(["0.001", *(f"{key}={value!r}" for key, value in settings.items())])
    return Contender(
        f"optax.{path}({arguments}), jit",
        "optax",
        lambda grads: OptaxSubject(path, grads, **settings),
    )


def subjects(
    contenders: Sequence[Contender], grads: Sequence[Tensor]
) -> tuple[dict[str, Subject], dict[str, str]]:
    """Those that could take a step, and why the others could not."""
    found, left_out = {}, {}
    for contender in contenders:
        try:
            with quiet():
                importlib.import_module(contender.needs)
                subject = contender.make(grads)
                subject.turn()
        except ModuleNotFoundError as error:
            left_out[contender.label] = f"{error.name} is not installed"
        except Exception as error:
            if contender.needs in OURS:
                raise
            # A package may be there and not work here: without a C++ compiler, say.
            reason = (str(error).strip() or "no message").splitlines()[0]
            left_out[contender.label] = f"{type(error).__name__}: {reason}"
        else:
            found[contender.label] = subject
    return found, left_out


OURS = ("adamantine", "torch")


def find_ninja() -> None:
    """Let DeepSpeed find it: in an environment that is not activated it is beside Python."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@contextmanager
def quiet() -> Iterator[None]:
    """Without what packages say of themselves when they are imported or first used."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
