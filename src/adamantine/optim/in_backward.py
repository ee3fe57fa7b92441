"""Steps inside of ``backward()``: each parameter's update as soon as its gradient is ready."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.utils.hooks import RemovableHandle

from adamantine.backends.compiling import compiling_is_told
from adamantine.backends.shards import total
from adamantine.errors import StateError, UsageError
from adamantine.optim.step.plan import Plan
from adamantine.optim.step.scaling.gradient_scaling import SMALL, GradientScaling
from adamantine.optim.step.scaling.gradients import Gradients
from adamantine.optim.step.sharded import parts_of
from adamantine.optim.step.totals import shared_sums
from adamantine.optim.step.updates.member import Only
from adamantine.optim.usage import misuse
from adamantine.optim.usage.labels import several
from adamantine.optim.usage.options import StepOptions
from adamantine.rules import Family


class StepsInBackward(torch.optim.Optimizer):
    """What steps in ``backward()`` ask of an optimizer."""

    family: ClassVar[Family]
    _step_options: StepOptions
    _gradient_scaling: GradientScaling
    _in_backward: InBackward | None

    def _new_plan(self, only: Only | None = None) -> Plan:
        """A plan of all its parameters, or of one."""
        raise NotImplementedError

    def _check_ready(self) -> None:
        """Raise where no step may be done now."""

    def _check_gradients(self, params: Iterable[Tensor]) -> None:
        """Raise for gradients that the class does not take."""


class InBackward:
    """What :meth:`RuleOptimizer.step_in_backward` returns.

    Attributes
    ----------
    previous_norm : float or None
        With `clip_by_previous_norm`, the global norm of the last step's gradients before clipping,
        by which the next step is clipped; None before the first step. Checkpoints do not contain
        it: to resume with the same bits, save it and set it again. A norm that is infinite or NaN
        is not kept.
    """

    def __init__(self, optimizer: StepsInBackward, clip_by_previous_norm: bool) -> None:
        self.previous_norm: float | None = None
        self._optimizer = weakref.ref(optimizer)
        self._max_norm = optimizer._step_options.max_grad_norm if clip_by_previous_norm else None
        self._accumulating = False
        self._pass: int | None = None  # the engine's number of the pass under way
        self._params: dict[Tensor, Only] = {}
        self._plans: dict[Tensor, Plan] = {}
        self._made_from: tuple[Any, Any] | None = None
        self._scale = 1.0
        # The sums over this step's gradients so far, by mesh (None for ordinary tensors).
        self._squares: dict[Any, float] | None = None
        self._meshes: list[Any] = []
        self._hook = _Hook(self)
        self.follow(optimizer)

    @contextmanager
    def accumulate(self, when: bool = True) -> Iterator[None]:
        """Let ``backward()`` only add up gradients, for all micro-batches but the last.

        Parameters
        ----------
        when
            False changes nothing, so that a loop can use
            ``with stepping.accumulate(when=micro < last):``.
        """
        before = self._accumulating
        self._accumulating = when or before
        try:
            yield
        finally:
            self._accumulating = before

    def remove(self) -> None:
        """Restore the usual behaviour: ``backward()`` leaves updates to ``optimizer.step()``."""
        self._hook.remove()
        self._plans.clear()
        optimizer = self._optimizer()
        if optimizer is not None and optimizer._in_backward is self:
            optimizer._in_backward = None

    def follow(self, optimizer: StepsInBackward) -> None:
        """Let hooks and plans be those of the parameters that the groups have now."""
        groups, state = optimizer.param_groups, optimizer.state
        pairs = ((p, index) for index, group in enumerate(groups) for p in group["params"])
        now = {p: Only(p, index, place) for place, (p, index) in enumerate(pairs)}
        made_from = self._made_from
        if not (made_from and made_from[0] is groups and made_from[1] is state):
            self._plans.clear()  # load_state_dict brings new groups
        if [*map(_place, now.values())] != [*map(_place, self._params.values())]:
            self._plans.clear()
            params = [(index, group["params"]) for index, group in enumerate(groups)]
            self._meshes = [part.mesh for _, part in parts_of(params, groups) if part.takes_part]
        self._made_from, self._params = (groups, state), now
        self._hook.cover(now)

    def on_gradient(self, param: Tensor) -> None:
        """What autograd calls when it has added to ``param.grad``."""
        if self._accumulating:
            return
        optimizer = self._alive()
        number = torch._C._current_graph_task_id()
        if number != self._pass:
            # The first gradient of a pass; one that failed has not come to its end.
            _refuse_pass_within_pass()
            self._open(optimizer)
            torch.autograd.Variable._execution_engine.queue_callback(self._end_of_pass)
            self._pass = number
        if param in self._params:
            self._update(optimizer, param)

    def step_the_rest(self) -> None:
        """What ``optimizer.step()`` does: update whatever still has a gradient."""
        optimizer = self._alive()
        if getattr(optimizer, "grad_scale", None) is not None:
            # The scaler leaves them there when step() raises.
            del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
            raise UsageError(
                "GradScaler does not go with step_in_backward: it looks for infinities in all "
                "gradients before the first update, and backward() has updated by scaled ones. Use "
                "autocast to bfloat16, which needs no scaler, or call step() after backward()"
            )
        self._open(optimizer)
        self._close(optimizer)

    def _alive(self) -> StepsInBackward:
        optimizer = self._optimizer()
        if optimizer is None:
            self._hook.remove()
            raise UsageError(_GONE)
        return optimizer

    def _open(self, optimizer: StepsInBackward) -> None:
        optimizer._check_ready()
        self.follow(optimizer)
        self._squares = None
        self._scale = 1.0
        if self._max_norm is not None and self.previous_norm is not None:
            self._scale = min(1.0, self._max_norm / (self.previous_norm + SMALL))

    def _end_of_pass(self) -> None:
        self._pass = None
        optimizer = self._alive()
        self._close(optimizer)
        # Or a scheduler warns that it is called before the first step.
        optimizer._opt_called = True  # type: ignore[attr-defined]

    def _close(self, optimizer: StepsInBackward) -> None:
        # Gradients that were added up before and got nothing in this pass, or that have no hook.
        for param in self._params:
            self._update(optimizer, param)
        if self._squares is not None:
            # All processes of a mesh, also where one had no gradient on it.
            sums = dict.fromkeys(self._meshes, 0.0) | self._squares
            optimizer._gradient_scaling.norm = norm = math.sqrt(total(sums))
            if math.isfinite(norm):
                self.previous_norm = norm
            self._squares = None

    def _update(self, optimizer: StepsInBackward, param: Tensor) -> None:
        if param.grad is None:
            return
        had_state = bool(optimizer.state.get(param))
        try:
            self._run(optimizer, param)
        except Exception:
            # As if there had been no step: a rule may have to know which one is the first.
            self._plans.pop(param, None)
            if not had_state:
                optimizer.state.pop(param, None)
            raise
        param.grad = None

    def _run(self, optimizer: StepsInBackward, param: Tensor) -> None:
        optimizer._check_gradients([param])
        factor_of = None if self._max_norm is None else self._factor
        plan = self._plans.get(param)
        if plan is not None and plan.run(factor_of):
            return
        with compiling_is_told():
            plan = self._plans[param] = optimizer._new_plan(self._params[param])
            plan.make()
            holds = plan.run(factor_of)
        if not holds:
            raise StateError(
                "a parameter changed while backward() updated it, probably from another thread; "
                "it was not updated"
            )

    def _factor(self, gradients: Gradients) -> float:
        """What the coming update multiplies its gradient by; notes the gradient's norm."""
        before = self._squares or {}
        sums = gradients.sums_of_squares()
        self._squares = before | {mesh: before.get(mesh, 0.0) + sums[mesh] for mesh in sums}
        return self._scale


def _place(only: Only) -> tuple[int, int]:
    # By id: the parameters' own comparison is one of their elements.
    return id(only.param), only.group


_GONE = (
    "the optimizer that steps in backward() is gone, and nothing was updated: keep it as long as "
    "you train, or call remove() on what step_in_backward() returned. Its hooks are off now"
)


class _Hook:
    """One hook on many parameters.

    It holds neither the optimizer nor a parameter: Python cannot collect a cycle through autograd.
    """

    def __init__(self, target: InBackward) -> None:
        self._target = weakref.ref(target)
        self._handles: dict[int, RemovableHandle] = {}  # by the parameter's id

    def __call__(self, param: Tensor) -> None:
        if torch.compiler.is_dynamo_compiling():
            return self._outside_the_graph(param)
        target = self._target()
        if target is None:
            self.remove()
            raise UsageError(_GONE)
        return target.on_gradient(param)

    # Compiled autograd traces hooks; what is in this one is compiled already.
    @_disable_dynamo
    def _outside_the_graph(self, param: Tensor) -> None:
        self(param)

    @property
    def works(self) -> bool:
        target = self._target()
        return target is not None and target._optimizer() is not None

    def cover(self, params: Iterable[Tensor]) -> None:
        """Be on these parameters, as far as they take a gradient now, and on no others."""
        params = list(params)
        ids = set(map(id, params))
        for gone in self._handles.keys() - ids:
            self._handles.pop(gone).remove()
        new = [p for p in params if id(p) not in self._handles and p.requires_grad and p.is_leaf]
        for param in new:
            _make_room(param)
        for param in new:
            handle = param.register_post_accumulate_grad_hook(self)  # type: ignore[no-untyped-call]
            self._handles[id(param)] = handle

    def remove(self) -> None:
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()


def _make_room(param: Tensor) -> None:
    """Take off hooks whose optimizer is gone; raise for one whose optimizer is not."""
    for hook in list((getattr(param, "_post_accumulate_grad_hooks", None) or {}).values()):
        if isinstance(hook, _Hook):
            if hook.works:
                raise UsageError(
                    "another optimizer already steps this parameter in backward(); call remove() "
                    "on what its step_in_backward() returned"
                )
            hook.remove()


def check_usable(
    optimizer: StepsInBackward, module: nn.Module, clip_by_previous_norm: bool
) -> None:
    """Raise a ``UsageError`` for what does not go with steps inside of ``backward()``."""
    if optimizer._in_backward is not None:
        raise UsageError(
            "this optimizer steps in backward() already; call remove() on what the first "
            "step_in_backward() returned"
        )
    _check_module(optimizer, module)
    options = optimizer._step_options
    if clip_by_previous_norm and options.max_grad_norm is None:
        raise UsageError("clip_by_previous_norm=True needs max_grad_norm=, given to the optimizer")
    if options.max_grad_norm is not None and not clip_by_previous_norm:
        raise UsageError(
            f"max_grad_norm={options.max_grad_norm} does not go with step_in_backward: the global "
            "norm is known when the last gradient is, and most parameters are updated by then. "
            "clip_by_previous_norm=True clips by the norm of the step before"
        )
    if options.skip_nonfinite:
        raise UsageError(
            "skip_nonfinite does not go with step_in_backward: whether any gradient is not finite "
            "is known when the last one is, and most parameters are updated by then"
        )
    if shared_sums(optimizer.family, optimizer.param_groups) is not None:
        raise UsageError(
            f"{type(optimizer).__name__} does not go with step_in_backward: what it decides over a "
            "step needs the gradients of all parameters, and most are updated before the last one "
            "is there; call step() after backward()"
        )
    if options.offload:
        raise UsageError(
            "offload=True does not go with step_in_backward: gradients travel while backward() runs"
        )
    if options.zero_grad == "zeros":
        raise UsageError("zero_grad='zeros' keeps the gradients that step_in_backward is to free")
    if options.collect_stats:
        raise UsageError(
            "collect_stats does not go with step_in_backward: it looks at one step of all "
            "parameters; call step() after backward() in a run that collects them"
        )
    if any(group.get("differentiable") for group in optimizer.param_groups):
        raise UsageError(
            "differentiable=True does not go with step_in_backward: autograd cannot record updates "
            "while it runs backward"
        )


_REDUCE_LATER = {"DistributedDataParallel", "DDP", "FullyShardedDataParallel"}


def _check_module(optimizer: StepsInBackward, module: nn.Module) -> None:
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"step_in_backward takes the nn.Module that the optimizer trains, got {type(module)}"
        )
    for part in module.modules():
        for cls in type(part).__mro__:
            # By name: importing them takes longer than everything else here.
            if cls.__name__ in _REDUCE_LATER and cls.__module__.startswith("torch."):
                raise UsageError(
                    f"step_in_backward does not take a {cls.__name__}: processes exchange their "
                    "gradients after their own are ready, which it would update by; call step() "
                    "after backward()"
                )
    strangers = misuse.strangers(module, optimizer)
    if strangers:
        raise UsageError(
            f"the optimizer has {several(strangers)}, and the module does not: pass the module "
            "that has them all (join several with torch.nn.ModuleList([...])), and build the "
            "optimizer after every replacement of a parameter"
        )


_FSDP = "torch.distributed.fsdp._fully_shard."


def _refuse_pass_within_pass() -> None:
    code = torch.autograd.function.BackwardCFunction.apply.__code__
    frames = list(misuse.callers())
    # FSDP2 calls hooks from a function of its own in the same pass, with a complete gradient.
    inner = ["", *(frame.f_globals.get("__name__", "") for frame in frames)]
    if any(
        frame.f_code is code and not caller.startswith(_FSDP)
        for frame, caller in zip(frames, inner, strict=False)
    ):
        raise UsageError(
            "step_in_backward met a backward() inside of a backward(), as checkpoint(..., "
            "use_reentrant=True) runs it: a gradient that is ready there need not be complete; "
            "use_reentrant=False does the same without"
        )
