"""The optimizer that all others are: torch's, with the maths left to a rule and a backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from adamantine.backends import BACKENDS, BackendName
from adamantine.errors import StateError, UsageError
from adamantine.optim.plan import Plan
from adamantine.rules import Family
from adamantine.rules.hyperparameters import check_all

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class RuleOptimizer(torch.optim.Optimizer):
    """A ``torch.optim.Optimizer`` that runs one family of rules.

    Subclasses give :attr:`family` and a constructor with torch's signature. Settings live in
    ``param_groups`` under torch's names, and states under torch's names in ``state``; the compiled
    backends work on those very tensors.
    """

    family: ClassVar[Family]

    def __init__(self, params: Params, defaults: dict[str, Any], backend: BackendName) -> None:
        if backend not in BACKENDS:
            raise UsageError(
                f"unknown backend {backend!r}; choose one of {', '.join(map(repr, BACKENDS))}"
            )
        if isinstance(defaults["lr"], Tensor) and defaults["lr"].numel() != 1:
            raise UsageError("Tensor lr must be 1-element")
        check_all(self.family.hyperparameters, defaults)
        if defaults.get("fused"):
            if defaults.get("differentiable"):
                raise RuntimeError("`fused` does not support `differentiable`")
            if defaults.get("foreach"):
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self.backend: BackendName = backend
        self._plan: Plan | None = None
        super().__init__(cast(Any, params), defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch does, after checking its settings (which torch does not)."""
        if isinstance(param_group, dict):
            check_all(self.family.hyperparameters, {**self.defaults, **param_group})
        _without_dynamo("add_param_group")(self, param_group)
        self._plan = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zero."""
        if not set_to_none or _profiling():
            _without_dynamo("zero_grad")(self, set_to_none)
            return
        # torch opens a profiler record even when nobody looks: 40 µs, as long as a small step.
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch's format; its tensors are the live ones."""
        return cast(dict[str, Any], _without_dynamo("state_dict")(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that :meth:`state_dict`, here or in ``torch.optim``, has returned."""
        _without_dynamo("load_state_dict")(self, state_dict)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one optimization step.

        Parameters
        ----------
        closure
            Evaluates the model again, calls ``backward()`` and returns the loss.

        Returns
        -------
        The closure's loss, or None.

        Raises
        ------
        BackendError
            For a sparse gradient, or a parameter that the chosen backend cannot take.
        StateError
            When a parameter no longer fits its state, after ``.to()`` for example.
        """
        if self._is_watched():
            return self._watched_step(closure)
        return self._step(closure)

    # torch wraps every class's `step` for hooks and the profiler, at 10 to 20 µs a call: as much as
    # the update of a small network. So `step` says that it is wrapped, and calls the wrapper only
    # when somebody is looking.
    step.hooked = True  # type: ignore[attr-defined]

    def _is_watched(self) -> bool:
        return bool(
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiling()
        )

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._plan is None or not self._plan.run():
            self._plan = self._new_plan()
            if not self._plan.run():
                self._plan = None
                raise StateError(
                    "the parameters changed while step() looked at them, probably from another "
                    "thread; nothing was updated"
                )
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _new_plan(self) -> Plan:
        return Plan(self.family, self.param_groups, self.state, self.backend, type(self).__name__)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "backend": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("backend", "auto")
        self._plan = None  # it holds the tensors of before
        for group in self.param_groups:
            # Checkpoints of older torch versions lack newer settings.
            for name, default in self.defaults.items():
                group.setdefault(name, default)


def _profiling() -> bool:
    return torch.autograd._profiler_enabled()  # type: ignore[attr-defined]


def _without_dynamo(name: str) -> Callable[..., Any]:
    """A method of torch's optimizer, without the wrapper that keeps torch.compile out of it.

    That wrapper imports ``torch._dynamo`` when it is first called, which takes a second; where
    nobody has imported it, nothing is being compiled.
    """
    method = getattr(torch.optim.Optimizer, name)
    if "torch._dynamo" in sys.modules:
        return cast(Callable[..., Any], method)
    return cast(Callable[..., Any], getattr(method, "__wrapped__", method))
