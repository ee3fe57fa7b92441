"""What every optimizer offers around its steps: norms, counts, statistics, steps in backward()."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from adamantine.errors import UsageError
from adamantine.optim.in_backward import InBackward, StepsInBackward, check_usable
from adamantine.optim.offload import StepsOffloaded
from adamantine.optim.step.outside import outside_the_graph
from adamantine.optim.step.plan import FactorOf, Plan
from adamantine.optim.step.scaling.gradient_scaling import GradientScaling
from adamantine.optim.step.stats import Meter, ParameterStats, stats_of
from adamantine.optim.usage.options import step_options_of


class WithStepOptions(StepsInBackward, StepsOffloaded):
    """The options of :class:`.RuleOptimizer` that are the optimizer's own, not a group's."""

    # GradScaler then leaves gradients scaled and says in two attributes what `step` needs to know.
    _step_supports_amp_scaling = True

    _plan: Plan | None

    def _set_step_options(self, options: Mapping[str, Any]) -> None:
        """Check the options, and make what they need."""
        self._step_options = step_options_of(options)
        self._gradient_scaling = GradientScaling(self._step_options)
        self._meter = Meter(self._step_options.collect_stats)
        self._in_backward = None

    def _note_stats(self, scaled: bool) -> None:
        """Keep what the step has measured; `scaled`, where :meth:`_factor_of` had a say in it."""
        if self._plan is not None and self._plan.measured:
            before = self._gradient_scaling
            factors = (before.unscale, before.coefficient) if scaled else (1.0, 1.0)
            measure = partial(stats_of, self.param_groups, self._plan.measured, *factors)
            if self._plan.measured_there:
                self._meter.take_later(measure, self._plan.was_done())
            else:
                self._meter.take(measure())
            self._plan.measured = []

    @outside_the_graph
    def stats(self) -> list[ParameterStats]:
        """What the last measured step did to each parameter that had a gradient.

        ``collect_stats=True`` measures every step, a number k the first and then every k-th.
        Skipped steps are not measured.

        Returns
        -------
        list of ParameterStats
            In the order of the groups; empty before the first step.

        Raises
        ------
        UsageError
            A ``ValueError``: the optimizer was built without ``collect_stats``.
        """
        return list(self._working_meter().stats)

    @property
    def measured_steps(self) -> int:
        """How many steps have been measured, by this object and the one it was copied from."""
        return self._meter.taken

    @outside_the_graph
    def restart_stats(self) -> None:
        """Measure the next step and every k-th from there on; until then :meth:`stats` is empty.

        Raises
        ------
        UsageError
            As :meth:`stats` does.
        """
        self._working_meter().restart()

    def _working_meter(self) -> Meter:
        if not self._step_options.collect_stats:
            raise UsageError(
                "nothing was measured: build the optimizer with collect_stats=True, or with a "
                "number k for every k-th step"
            )
        return self._meter

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's own options (see :class:`.Options`) that differ from their defaults."""
        return self._step_options.given()

    def _factor_of(self) -> FactorOf | None:
        """What decides over the coming step: nothing, where nobody has asked for anything."""
        scale, found_inf = self.__dict__.get("grad_scale"), self.__dict__.get("found_inf")
        if scale is None and found_inf is None and not self._gradient_scaling.reads:
            return None
        return partial(self._gradient_scaling.factor, scale, found_inf)

    def _may_skip(self) -> bool:
        """Whether the coming step may be left out."""
        return self._gradient_scaling.may_skip(self.__dict__.get("found_inf"))

    @property
    def grad_norm(self) -> float | None:
        """The global norm of the last step's gradients: unscaled, and before clipping.

        None before the first step, and if neither `max_grad_norm` nor `skip_nonfinite` is set. Not
        finite if the gradients were not.
        """
        return self._gradient_scaling.norm

    @property
    def skipped_steps(self) -> int:
        """How many steps were skipped because gradients were not finite.

        Copies of the optimizer keep the count; a ``state_dict`` does not, because torch's format
        has no place for it.
        """
        return self._gradient_scaling.skipped

    @outside_the_graph
    def step_in_backward(
        self, module: nn.Module, *, clip_by_previous_norm: bool = False
    ) -> InBackward:
        """Update each parameter in ``backward()``, as soon as its gradient is ready, and free it.

        From now on, ``backward()`` does the work of ``backward()``, :meth:`step` and
        :meth:`zero_grad`, with the same numbers and never more than one gradient in memory. You can
        still call :meth:`step` afterwards: it updates whatever still has a gradient, normally
        nothing.

        Parameters
        ----------
        module
            A module that contains all parameters of this optimizer. Its other parameters are left
            alone.
        clip_by_previous_norm
            Multiply gradients by ``min(1, max_grad_norm / (n + 1e-6))``, where n is the global norm
            of the previous step's gradients before clipping; the norm of the current gradients is
            known too late. The first step is not clipped.

        Returns
        -------
        InBackward
            Use its ``accumulate()`` for all micro-batches but the last. Its ``remove()`` restores
            the usual behaviour.

        Raises
        ------
        UsageError
            A ``ValueError``: the module is wrapped for DistributedDataParallel or FSDP1, or lacks a
            parameter; the optimizer has ``max_grad_norm`` without `clip_by_previous_norm`, or the
            other way round; or it has ``skip_nonfinite``, ``collect_stats``, ``zero_grad="zeros"``
            or ``differentiable``.

        Notes
        -----
        ``docs/in_backward.md`` explains accumulation, clipping, and what it cannot be combined
        with. Hooks of :meth:`step` are called by :meth:`step`, not for each parameter.

        Examples
        --------
        >>> import torch, adamantine
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = adamantine.AdamW(model.parameters())
        >>> stepping = optimizer.step_in_backward(model)
        >>> model(torch.ones(3, 4)).sum().backward()
        >>> model.weight.grad is None
        True
        """
        check_usable(self, module, clip_by_previous_norm)
        self._in_backward = InBackward(self, clip_by_previous_norm)
        return self._in_backward
