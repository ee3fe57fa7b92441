"""What every optimizer takes beside its own settings: precision, and options of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, get_args

from adamantine.errors import HyperparameterError
from adamantine.optim.usage.numbers import python_numbers

StateDtype = Literal["float32", "bfloat16", "int8"]
Rounding = Literal["nearest", "stochastic", "kahan"]
Master = Literal["float32", "24bit"]


class Options(TypedDict, total=False):
    """Settings that every optimizer takes, by keyword.

    The first three are settings of a parameter group and may differ from group to group; the others
    belong to the optimizer. Without them nothing changes, and groups have only torch's keys.

    Parameters
    ----------
    state_dtype
        How states are stored between steps: ``"float32"``, ``"bfloat16"``, ``"int8"``, or a
        dictionary of these by the state's name (``{"exp_avg": "bfloat16"}``). None, as in torch,
        for the parameter's dtype. Anything below float32 is rounded stochastically. See
        ``docs/precision.md``.
    param_rounding
        How updates of 16-bit parameters are rounded: ``"nearest"``, as in torch; ``"stochastic"``,
        so that updates far smaller than the last digit add up on average (bfloat16 only); or
        ``"kahan"``, with a second 16-bit tensor for the part that was rounded away.
    master
        Extra digits that the optimizer keeps of 16-bit parameters and computes with: ``"float32"``,
        a full copy; or ``"24bit"``, one more byte, for bfloat16 only. States without a
        `state_dtype` are then float32.
    rounding_seed
        Seed of the stochastic rounding; 0 by default.
    max_grad_norm
        Scale gradients down to this global norm, as ``clip_grad_norm_`` does before a step, but
        without writing to the gradients. None for no clipping.
    skip_nonfinite
        True: skip steps whose gradients contain an infinity or NaN, count them in
        ``skipped_steps``, and raise after 25 in a row. A number n: raise after n in a row.
    zero_grad
        True: set gradients to None after each step. ``"zeros"``: fill them with zeros in the pass
        that reads them.
    collect_stats
        True: measure what ``stats()`` returns in every step. A number k: in every k-th step.
    offload
        True: keep states in main memory, and update there, what lies on an accelerator. See
        ``docs/offload.md``. ``"early"``: also fetch gradients while ``backward()`` runs.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, from the optimizer's constructor, for any other value.

    Notes
    -----
    The optimizer's own options are not in its ``state_dict``: give them again when you build the
    optimizer that loads it. The options of groups are saved, but loading a ``state_dict`` does not
    change them, so a checkpoint can be loaded into states of another precision.
    """

    state_dtype: StateDtype | Mapping[str, StateDtype] | None
    param_rounding: Rounding
    master: Master | None
    rounding_seed: int
    max_grad_norm: float | None
    skip_nonfinite: bool | int
    zero_grad: bool | Literal["zeros"]
    collect_stats: bool | int
    offload: bool | Literal["early"]


NAMES = tuple(Options.__annotations__)
OF_GROUPS = ("state_dtype", "param_rounding", "master")
KEPT = ("sparse", *OF_GROUPS)
"""Settings of a group that it keeps, whatever is loaded: they say how, not what is computed."""

SKIPS_IN_A_ROW = 25
"""Steps that ``skip_nonfinite=True`` leaves out before it raises: GradScaler halves its scale with
each, and from its first one, 2**16, it comes down to 2**-9 so."""


@dataclass(frozen=True)
class StepOptions:
    """The optimizer's own options, checked: what each step does beside its update.

    `skip_nonfinite` and `collect_stats` are numbers of steps here, 0 for no.
    """

    rounding_seed: int = 0
    max_grad_norm: float | None = None
    skip_nonfinite: int = 0
    zero_grad: bool | Literal["zeros"] = False
    collect_stats: int = 0
    offload: bool | Literal["early"] = False

    def given(self) -> dict[str, Any]:
        """Those that are not at their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}


def step_options_of(options: Mapping[str, Any]) -> StepOptions:
    """Check the optimizer's own options.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for one outside its range.
    """
    given = {f.name: options[f.name] for f in fields(StepOptions) if f.name in options}
    own: dict[str, Any] = python_numbers(given)
    norm = own.get("max_grad_norm")
    # Written so that NaN, which compares false with everything, is refused.
    if norm is not None and not (0 < norm < math.inf):
        raise HyperparameterError(
            f"Invalid max_grad_norm: {norm} (expected a finite number > 0, or None)"
        )
    if own.get("zero_grad", False) not in (False, True, "zeros"):
        raise HyperparameterError(
            f"Invalid zero_grad: {own['zero_grad']!r} (expected True, False or 'zeros')"
        )
    if own.get("offload", False) not in (False, True, "early"):
        raise HyperparameterError(
            f"Invalid offload: {own['offload']!r} (expected True, False or 'early')"
        )
    _as_count(own, "skip_nonfinite", SKIPS_IN_A_ROW)
    _as_count(own, "collect_stats", 1)
    _check_int(own, "rounding_seed")
    return StepOptions(**own)


def check_of_group(settings: Mapping[str, Any]) -> None:
    """Check the options that a parameter group holds.

    Raises
    ------
    HyperparameterError
        A ``ValueError``, for one that is none of its choices.
    """
    dtype, rounding = settings.get("state_dtype"), settings.get("param_rounding", "nearest")
    for given in dtype.values() if isinstance(dtype, Mapping) else [dtype]:
        if given is not None and given not in get_args(StateDtype):
            raise HyperparameterError(
                f"Invalid state_dtype: {given!r} (expected {_choices(StateDtype)}, None, or a "
                "dictionary of these by the state's name)"
            )
    if rounding not in get_args(Rounding):
        raise HyperparameterError(
            f"Invalid param_rounding: {rounding!r} (expected {_choices(Rounding)})"
        )
    master = settings.get("master")
    if master is None:
        return
    if master not in get_args(Master):
        raise HyperparameterError(f"Invalid master: {master!r} (expected {_choices(Master)}, None)")
    if rounding != "nearest":
        raise HyperparameterError(
            f"param_rounding={rounding!r} does not go with master={master!r}: a master keeps what "
            "its parameter loses, which is rounded to nearest; leave one of the two out"
        )


def _choices(literal: Any) -> str:
    return ", ".join(map(repr, get_args(literal)))


def _as_count(own: dict[str, Any], name: str, of_true: int) -> None:
    if name in own:
        _check_int(own, name)
        own[name] = of_true if own[name] is True else int(own[name])


def _check_int(own: dict[str, Any], name: str) -> None:
    value = own.get(name, 0)
    if not isinstance(value, int) or value < 0:
        raise HyperparameterError(f"Invalid {name}: {value!r} (expected an integer >= 0)")
