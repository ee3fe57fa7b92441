"""The numbers of an update that are the same for all elements, computed on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.gpu.device_scalars import scalars_on_device
from adamantine.optim.step.updates.member import Member
from adamantine.rules import Family, Settings

Group = dict[str, Any]


class Scalars:
    """A family's scalars, from the settings of groups and from what is counted.

    Parameters
    ----------
    family
        Has the formulas.
    groups
        The optimizer's.

    Attributes
    ----------
    factor
        What this step multiplies gradients by.
    constant
        Whether all settings are Python's numbers.
    shared
        By name, the scalar that sums over all parameters have decided.
    """

    def __init__(self, family: Family, groups: Sequence[Group]) -> None:
        self._family, self._groups = family, groups
        self.factor, self.constant = 1.0, False
        self.shared: Mapping[str, float] = {}

    def of(self, dtype: torch.dtype) -> Callable[..., Mapping[str, Any]]:
        """:meth:`of_group` for parameters of this `dtype`."""
        return partial(self.of_group, dtype=dtype) if self._family.of_dtype else self.of_group

    def of_group(
        self, group: int, *counters: float, dtype: torch.dtype | None = None
    ) -> Mapping[str, Any]:
        """Those of a group's parameters, for these counters."""
        settings = self._with(self.settings(group), dtype)
        return self._in_this_step(self._family.scalars(settings, *counters))

    def settings(self, group: int) -> Settings:
        """Those of a group, as numbers."""
        given = self._groups[group]
        return given if self.constant else _as_numbers(given)

    def of_on_device(self, dtype: torch.dtype) -> Callable[..., Mapping[str, Any]]:
        """:meth:`on_device` for parameters of this `dtype`."""
        return partial(self.on_device, dtype=dtype) if self._family.of_dtype else self.on_device

    def on_device(
        self, group: int, *counters: Tensor, dtype: torch.dtype | None = None
    ) -> Mapping[str, Any]:
        """The same of counters that are on a device: vectors, and not for gradients times a factor.

        Kernels there multiply by one that is on the device, too.
        """
        settings = self._with(self._groups[group], dtype)
        return scalars_on_device(self._family.scalars, settings, counters)

    def coming(self, member: Member) -> Mapping[str, Any]:
        """What :meth:`next` is going to return, with nothing counted."""
        names = member.treatment.counters
        step = float(member.state["step"]) + 1 if names else 1.0 if member.fresh else 2.0
        others = (float(member.state[name]) for name in self._family.counters[1:])
        return self.of(member.treatment.computed_as)(member.group, step, *others)

    def next(self, member: Member, differentiable: bool) -> Mapping[str, Any]:
        """Count the step of a member outside of the tables; returns its scalars."""
        group, state = self._groups[member.group], member.state
        if member.treatment.counters:
            state["step"] += 1
            step = float(state["step"])
        else:
            step = 1.0 if member.fresh else 2.0
            member.fresh = False
        others = (state[name] for name in self._family.counters[1:])
        settings = group if differentiable else _as_numbers(group)
        scalars = self._family.scalars(
            self._with(settings, member.treatment.computed_as),
            step,
            # Autograd may keep them; the counters themselves are written to after the step.
            *(value.double().clone() if differentiable else float(value) for value in others),
        )
        return self._in_this_step(scalars)

    def _with(self, settings: Settings, dtype: torch.dtype | None) -> Settings:
        """Settings, with what a family may have to know of a dtype."""
        if dtype is None or not self._family.of_dtype:
            return settings
        return {**settings, "epsilon": torch.finfo(dtype).eps}

    def _in_this_step(self, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same with what the step has decided.

        Gradients are multiplied by the factor: every rule begins with `sign` times them.
        """
        if self.factor != 1:
            scalars = {**scalars, "sign": self.factor * scalars["sign"]}
        return {**scalars, **self.shared} if self.shared else scalars


def _as_numbers(group: Settings) -> Settings:
    """The group with one-element tensors (``lr=torch.tensor(1e-3)``) as Python numbers."""
    first_beta = group["betas"][0] if "betas" in group else None
    if (
        isinstance(group["lr"], Tensor)
        or isinstance(group.get("weight_decay"), Tensor)
        or (isinstance(first_beta, Tensor))
    ):
        return {key: _number(value) for key, value in group.items() if key != "params"}
    return group


def _number(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_number, value))
    return value.item() if isinstance(value, Tensor) else value
