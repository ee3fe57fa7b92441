"""The optimizer that all others are: torch's, with the maths left to a rule and a backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from adamantine.backends import BACKENDS, BackendName
from adamantine.backends.compiling import compiling_is_told
from adamantine.backends.shards import is_dtensor
from adamantine.errors import BackendError, StateError, UsageError
from adamantine.optim.state.loading import fitted, to_torchs_format
from adamantine.optim.state.precision import treatment
from adamantine.optim.state.preparing import prepare_state
from adamantine.optim.step.outside import outside_the_graph
from adamantine.optim.step.plan import Plan
from adamantine.optim.step.scaling.gradient_scaling import GradientScaling
from adamantine.optim.step.scaling.gradients import fill_with_zeros, held
from adamantine.optim.step.stats import Meter
from adamantine.optim.step.totals import shared_sums
from adamantine.optim.step.travel import Travel
from adamantine.optim.step.updates.member import Only
from adamantine.optim.step.updates.rows import MissedByParameter, Mode
from adamantine.optim.step_options import WithStepOptions
from adamantine.optim.usage import misuse
from adamantine.optim.usage.labels import label_at
from adamantine.optim.usage.options import OF_GROUPS, StepOptions, check_of_group
from adamantine.optim.usage.param_group import copied, listed, own_group
from adamantine.optim.usage.spelling import warn_of_misspelt_keys, with_suggestions
from adamantine.rules import Family
from adamantine.rules.hyperparameters import check_all

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class RuleOptimizer(WithStepOptions):
    """A ``torch.optim.Optimizer`` that runs one family of rules.

    Subclasses give :attr:`family` and a constructor with torch's signature. Settings live in
    ``param_groups`` under torch's names, and states under torch's names in ``state``; the compiled
    backends work on those very tensors.
    """

    family: ClassVar[Family]
    takes_dense: ClassVar[bool] = True
    takes_model: ClassVar[bool] = False
    """Whether it is built from a model as well, whose modules say what its parameters are."""
    in_all_groups: ClassVar[tuple[str, ...]] = ()
    """What groups hold that is state, and no setting: it is the same in all of them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            # Where a constructor breaks the graph, Dynamo loses what it had set before.
            checked = outside_the_graph(with_suggestions(cls.__init__))
            cls.__init__ = checked  # type: ignore[method-assign]

    def __init__(
        self,
        params: Params,
        defaults: dict[str, Any],
        backend: BackendName,
        options: Mapping[str, Any],
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(
                f"unknown backend {backend!r}; choose one of {', '.join(map(repr, BACKENDS))}"
            )
        if isinstance(defaults["lr"], Tensor) and defaults["lr"].numel() != 1:
            raise UsageError("Tensor lr must be 1-element")
        self._set_step_options(options)
        # Where they are not asked for, groups have torch's settings alone.
        defaults |= {name: copied(options[name]) for name in OF_GROUPS if name in options}
        check_all(self.family.hyperparameters, defaults)
        if defaults.get("fused"):
            if defaults.get("differentiable"):
                raise RuntimeError("`fused` does not support `differentiable`")
            if defaults.get("foreach"):
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self.backend: BackendName = backend
        self._plan: Plan | None = None
        self._warned: set[Callable[[str], None]] = set()
        self._missed_steps: MissedByParameter = {}
        self._travel: Travel | None = None
        super().__init__(cast(Any, params), defaults)
        if self._step_options.offload and shared_sums(self.family, self.param_groups) is not None:
            raise UsageError(
                f"offload=True does not go with {type(self).__name__}: parameters travel and are "
                "updated in turn, and what it decides over a step needs the gradients of all; "
                "leave offload out"
            )

    @outside_the_graph
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a copy of a group, after checking its settings (torch adds the group unchecked)."""
        if isinstance(param_group, dict):
            if self.param_groups and self.in_all_groups:
                listed(param_group)
                first = self.param_groups[0]
                param_group = {**{name: first[name] for name in self.in_all_groups}, **param_group}
            check_all(self.family.hyperparameters, {**self.defaults, **param_group})
            check_of_group({**self.defaults, **param_group})
            warn_of_misspelt_keys(param_group, {*self.defaults, *OF_GROUPS})
            param_group = own_group(param_group, self.defaults)
        try:
            _without_dynamo("add_param_group")(self, param_group)
        except ValueError as error:
            if "more than one parameter group" not in str(error):
                raise
            raise UsageError(f"{error}: {self._held_already(param_group)}") from None
        self._plan = None
        if self._in_backward is not None:
            self._in_backward.follow(self)

    def _held_already(self, param_group: dict[str, Any]) -> str:
        """The first parameter of a new group that is in an older one, by its place there."""
        new = set(param_group["params"])
        return next(
            f"{label_at(group, index, position)} is given again in group {len(self.param_groups)}"
            for index, group in enumerate(self.param_groups)
            for position, param in enumerate(group["params"])
            if param in new
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None, or to zero."""
        if not set_to_none or _profiling():
            _without_dynamo("zero_grad")(self, set_to_none)
            return
        # torch opens a profiler record even when nobody looks: 40 µs, as long as a small step.
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None

    @outside_the_graph
    def state_dict(self, *, compact: bool = False) -> dict[str, Any]:
        """Return the state in torch's format; its tensors are the live ones, its settings copies.

        Parameters
        ----------
        compact
            Keep states of ``state_dtype="int8"`` as they are: codes, with their exponents under
            ``"<state>_exponents"``. They take a quarter of the space and load bit for bit, but
            torch cannot load them. Otherwise they are decoded to float32.

        Raises
        ------
        StateError
            A ``RuntimeError``, if a parameter was replaced in its group, so that its old state
            belongs to no parameter.
        """
        # The first of the hooks: the others may make something else of it, and expect numbers.
        handle = self.register_state_dict_post_hook(
            lambda _, found: to_torchs_format(found, self.param_groups, self.family, compact),
            prepend=True,
        )
        try:
            return cast(dict[str, Any], _without_dynamo("state_dict")(self))
        except KeyError:
            if problem := misuse.stray_states(self.param_groups, self.state):
                raise StateError(problem) from None
            raise
        finally:
            handle.remove()

    @outside_the_graph
    def load_state_dict(self, state_dict: dict[str, Any], *, strict: bool = True) -> None:
        """Load a state that :meth:`state_dict` returned, from this package or ``torch.optim``.

        States are matched by name if both sides have names, otherwise by order. They keep the
        precision they were saved with (see ``docs/checkpoints.md``). As in torch, tensors that need
        no conversion are used directly, not copied. Groups keep their `state_dtype`,
        `param_rounding`, `master` and `sparse`, and take all other settings that are saved.

        Parameters
        ----------
        state_dict
            A state dict of torch or of this package. In one from an older torch, steps may be
            numbers and newer settings may be missing; the optimizer then keeps its own.
        strict
            False if different layers are frozen now: parameters that are missing from `state_dict`
            start fresh, and states of parameters that the optimizer does not have are left out.
            Both sides need names for this. A group of only new parameters keeps its settings.

        Raises
        ------
        UsageError
            A ``ValueError``, if the groups do not match in number, size or names.
        HyperparameterError
            A ``ValueError``, if a saved setting is outside its range.
        StateError
            A ``RuntimeError``, if a state does not fit its parameter, which it names. All of these
            errors leave the optimizer unchanged.
        """
        state_dict = state_dict.copy()  # hooks may change it
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = pre_hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups = self._groups_of_states()
        found = fitted(state_dict, groups, self.family, self.defaults, strict, self.in_all_groups)
        self.__setstate__(self._of_parameters(found))
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

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
            For a sparse gradient, or a parameter that the chosen backend does not support.
        StateError
            If a parameter no longer fits its state, for example after ``.to()``.
        NonFiniteError
            A ``RuntimeError``, if `skip_nonfinite` has skipped too many steps in a row.
        """
        if torch.compiler.is_dynamo_compiling():
            return self._step_outside_the_graph(closure)
        if self._is_watched():
            # Hooks see the arguments, so there is none where the caller gave none.
            return self._watched_step() if closure is None else self._watched_step(closure)
        return self._step(closure)

    # torch wraps every class's `step` for hooks and the profiler, at 10 to 20 µs a call: as much as
    # the update of a small network. So `step` says that it is wrapped, and calls the wrapper only
    # when somebody is looking.
    step.hooked = True  # type: ignore[attr-defined]

    # torch.compile would trace pointer tables and threads, and fail or be wrong. What it compiles
    # is the code around the step; the step is compiled already.
    @_disable_dynamo
    def _step_outside_the_graph(self, closure: Callable[[], Any] | None) -> Any:
        return self.step(closure)

    def _is_watched(self) -> bool:
        return bool(
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiling()
        )

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        self._check_ready()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self.takes_dense:
            self._check_gradients(p for group in self.param_groups for p in group["params"])
        if self._in_backward is not None:
            self._in_backward.step_the_rest()
            return loss
        if self._step_options.offload:
            self._step_offloaded()
            if zeroing := self._step_options.zero_grad:
                self.zero_grad(set_to_none=zeroing != "zeros")
            return loss
        factor_of, zeroing = self._factor_of(), self._step_options.zero_grad
        collect_stats = self._meter.is_due()
        # Who collects statistics looks at gradients afterwards.
        zero_grads = zeroing == "zeros" and not collect_stats
        plan = self._plan
        if (
            plan is None
            or not plan.is_for(self.param_groups, self.state, self._may_skip())
            or not plan.run(factor_of, zero_grads, collect_stats)
        ):
            with compiling_is_told():
                plan = self._plan = self._new_plan()
                plan.make()
                holds = plan.run(factor_of, zero_grads, collect_stats)
            if not holds:
                self._plan = None
                raise StateError(
                    "the parameters changed while step() looked at them, probably from another "
                    "thread; nothing was updated"
                )
        if collect_stats:
            self._note_stats(scaled=factor_of is not None)
        if factor_of is not None:
            if not zeroing:
                self._gradient_scaling.unscale_gradients(self.param_groups)
            self._gradient_scaling.check(self.param_groups)
        if zeroing == "zeros":
            fill_with_zeros(held(self.param_groups), plan.zeroed)
            plan.zeroed = {}
        elif zeroing:
            self.zero_grad()
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    @outside_the_graph
    def share_memory(self) -> None:
        """Move the states into shared memory, for processes that train one model (Hogwild).

        States that do not exist yet are created first if the algorithm counts its steps. SGD
        creates its momentum from the first gradient, so call this after a step of SGD.
        """
        if self._step_options.offload:
            raise UsageError("offload=True keeps states in memory that cannot be shared")
        if shared_sums(self.family, self.param_groups) is not None:
            raise UsageError(
                f"share_memory() does not go with {type(self).__name__}: what it decides over a "
                "step is in its groups, and each process has its own"
            )
        for group in self.param_groups:
            for param in group["params"]:
                if is_dtensor(param):
                    raise UsageError("share_memory() is for processes that have all of a tensor")
                if self.family.counters:
                    self._prepare(param, group)
                for value in self.state.get(param, {}).values():
                    if isinstance(value, Tensor):
                        value.share_memory_()  # type: ignore[no-untyped-call]

    def _prepare(self, param: Tensor, group: dict[str, Any]) -> None:
        """Make the state that the first step would."""
        state = self.state[param]
        treated = treatment(self.family, group, param, state, self.param_groups)
        prepare_state(self.family, treated, param, state, group, self.param_groups)

    def _twin(self, groups: list[dict[str, Any]], options: dict[str, Any]) -> RuleOptimizer:
        """An optimizer like this one, over other parameters."""
        twin = type(self).__new__(type(self))
        RuleOptimizer.__init__(twin, groups, dict(self.defaults), self.backend, options)
        return twin

    def _new_plan(self, only: Only | None = None) -> Plan:
        params = (p for group in self.param_groups for p in group["params"])
        if misuse.is_half_unscaled(params if only is None else [only.param]):
            self._warn_once(misuse.warn_of_half)
        if self._step_options.max_grad_norm is not None and any(
            group.get("differentiable") for group in self.param_groups
        ):
            raise BackendError(
                "max_grad_norm does not go with differentiable=True: the norm would count as a "
                "constant in derivatives; scale the gradients yourself before step()"
            )
        for group in self.param_groups:
            check_of_group(group)  # it may have been changed since it was added
        return Plan(
            self.family,
            self.param_groups,
            self.state,
            self.backend,
            type(self).__name__,
            self._sparse_mode,
            self._missed_steps,
            self._step_options.rounding_seed,
            only,
            self._travel,
            self._may_skip(),
        )

    # Of the class: a plan that held its optimizer would keep both in memory.
    @classmethod
    def _sparse_mode(cls, _group: dict[str, Any]) -> Mode:
        """What a sparse gradient of a parameter in a group stands for."""
        raise BackendError(
            f"{cls.__name__} does not support sparse gradients; build the layer with sparse=False"
        )

    def _warn_once(self, warn_of: Callable[[str], None]) -> None:
        if warn_of not in self._warned:
            self._warned.add(warn_of)
            warn_of(type(self).__name__)

    @outside_the_graph
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in _OWN}}

    @outside_the_graph
    def __setstate__(self, state: dict[str, Any]) -> None:
        own = set(state.get("defaults", self.__dict__.get("defaults", ())))
        super().__setstate__(state)
        if "differentiable" not in own:  # torch has it in all copies, and not in all groups
            self.defaults.pop("differentiable", None)
        self.__dict__.setdefault("backend", "auto")
        options = self.__dict__.setdefault("_step_options", StepOptions())
        self.__dict__.setdefault("_gradient_scaling", GradientScaling(options))
        self.__dict__.setdefault("_warned", set())
        self.__dict__.setdefault("_missed_steps", {})
        self.__dict__.setdefault("_meter", Meter(options.collect_stats))
        self.__dict__.setdefault("_in_backward", None)
        self.__dict__.setdefault("_travel", None)
        self._plan = None  # it holds the tensors of before
        self._drop_offload()
        for group in self.param_groups:
            # Checkpoints of older torch versions lack newer settings.
            for name, default in self.defaults.items():
                group.setdefault(name, copied(default))


_OWN = "backend", "_step_options", "_gradient_scaling", "_meter"
"""What copies of an optimizer have beside what torch copies."""


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
