"""What a group's options make of a parameter: the rule that updates it, and what it is kept in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adamantine.backends.formats import CODES, OFFSETS, Format
from adamantine.backends.shards import is_dtensor, spread
from adamantine.errors import BackendError, UsageError
from adamantine.optim.usage.labels import label
from adamantine.rules import Family, Rule, Settings
from adamantine.rules.compensated import compensated
from adamantine.rules.master import mastered
from adamantine.rules.paired import COMPENSATION, MASTER

_HALVES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
_WITH_STATE_DTYPE = (torch.float32, *_HALVES)

Groups = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Treatment:
    """How one parameter is updated.

    Parameters
    ----------
    rule
        The family's, or that with a compensation or master.
    formats
        Of the parameter and of the rule's states.
    counters
        What is counted for it. Rounding by random numbers needs the step, even where the rule does
        not.
    """

    rule: Rule
    formats: tuple[Format, ...]
    counters: tuple[str, ...]

    @property
    def computed_as(self) -> torch.dtype:
        """Whose rounding the update has to reckon with: that of the number that is kept."""
        return self.formats[0].dtype if self.rule.joined is None else torch.float32

    @property
    def plain(self) -> bool:
        """Whether nothing is rounded by random numbers."""
        return all(f.plain for f in self.formats)


def treatment(
    family: Family, group: Settings, param: Tensor, state: Mapping[str, Any], groups: Groups = ()
) -> Treatment:
    """What the options of `group` make of `param`.

    Where they say nothing of a state it is as `param` is, or as it was loaded in `state`. Messages
    find the parameter's name in `groups`, the optimizer's.

    Raises
    ------
    UsageError
        A ``ValueError``, for options that do not go with the parameter, its rule, or each other.
    BackendError
        For a DTensor whose rule has states of another shape: no process has a part of them.
    """
    rule = family.rule_of(group, param.shape)
    if rule.shapes and is_dtensor(param):
        raise BackendError(
            f"{label(groups, param)} is {spread(param)}, and {family.name} keeps "
            f"{' and '.join(map(repr, rule.shapes))} of a whole matrix; use another optimizer for "
            "sharded matrices"
        )
    asked = group.get("state_dtype")
    rounding = group.get("param_rounding", "nearest")
    master = group.get("master")
    if asked is None and rounding == "nearest" and master is None:
        kept = [Format(_found(name, rule, param, state)) for name in rule.states]
        return Treatment(rule, (Format(param.dtype), *kept), counters_of(family, rule))
    if group.get("differentiable"):
        raise UsageError(
            "differentiable=True does not go with state_dtype, param_rounding or master: autograd "
            "cannot record a rounding; leave them out"
        )
    if asked is not None:
        _check_states(asked, family, rule, param, groups)
    if rounding == "kahan" and param.dtype in _HALVES:
        rule = compensated(rule, _HALVES[param.dtype])
    if master is not None:
        _check_master(master, param, groups)
        if param.dtype in _HALVES:
            rule = mastered(rule, master, _HALVES[param.dtype])
    if rounding == "stochastic" and param.dtype == torch.float16:
        raise UsageError(
            f"param_rounding='stochastic' is for bfloat16, and {label(groups, param)} is float16; "
            "use param_rounding='kahan'"
        )
    stochastic = rounding == "stochastic" and param.dtype == torch.bfloat16
    formats = (
        Format(param.dtype, stochastic),
        *(_format(group, name, rule, param, state) for name in rule.states),
    )
    noisy = not all(f.plain for f in formats)
    return Treatment(rule, formats, counters_of(family, rule) or (("step",) if noisy else ()))


def counters_of(family: Family, rule: Rule) -> tuple[str, ...]:
    """What is counted for each parameter that `rule`, one of the family's, updates."""
    return family.counters if rule.counters is None else rule.counters


def is_asked(group: Settings, name: str) -> bool:
    """Whether a group says what a state is to be kept in."""
    return _wanted(group, name) is not None or group.get("master") is not None


def _wanted(group: Settings, name: str) -> Any:
    asked = group.get("state_dtype")
    return asked.get(name) if isinstance(asked, Mapping) else asked


def _found(name: str, rule: Rule, param: Tensor, state: Mapping[str, Any]) -> torch.dtype:
    """The dtype of a state where no option says any."""
    value = state.get(name)
    own = torch.float32 if name in rule.tiny and param.dtype == torch.float16 else param.dtype
    if name in rule.exact and name in rule.shapes:  # a basis, and what it is found from
        own = torch.promote_types(own, torch.float32)
    if isinstance(value, Tensor) and value.dtype == kept_dtype(value.dtype, own):
        return value.dtype
    return own


def kept_dtype(saved: torch.dtype, own: torch.dtype) -> torch.dtype:
    """The dtype of a state that was `saved`, beside a parameter of dtype `own`.

    The parameter's, as in a fresh state, unless that would lose digits; then float32, which is what
    rules are computed in. So float32 moments of bfloat16 weights stay float32 (torch rounds them),
    and bfloat16 moments of weights that are float32 now widen.
    """
    if torch.promote_types(saved, own) == own:
        return own
    return torch.complex64 if own.is_complex else torch.float32


def _format(
    group: Settings, name: str, rule: Rule, param: Tensor, state: Mapping[str, Any]
) -> Format:
    if name == COMPENSATION:
        return Format(param.dtype)
    if name == MASTER:
        return Format(OFFSETS if group["master"] == "24bit" else torch.float32)
    wanted = _wanted(group, name)
    if wanted is not None and name in rule.shapes:
        return Format(torch.float32)  # with states of the parameter's shape below that
    if wanted is None and MASTER in rule.states:
        return Format(torch.float32)  # as the states of the weight that the rule is run on
    if wanted is None:
        return Format(_found(name, rule, param, state))
    if wanted == "int8":
        return Format(CODES, signed=name not in rule.nonnegative)
    return Format(getattr(torch, wanted), stochastic=wanted == "bfloat16")


def _known_states(
    family: Family, rule: Rule, groups: Groups, wanted: Collection[str]
) -> Collection[str]:
    """The states that an optimizer's parameters have, of which other rules may have others.

    It ends early where all that are `wanted` are found.
    """
    found = dict.fromkeys(rule.states)
    for group in groups:
        for param in group["params"]:
            found |= dict.fromkeys(family.rule_of(group, param.shape).states)
            if set(wanted) <= found.keys():
                return found
    return found


def _check_master(master: str, param: Tensor, groups: Groups) -> None:
    if param.is_complex():
        raise UsageError(
            f"a master is for real parameters of 16 bits, and {label(groups, param)} is "
            f"{param.dtype}; use master=None for its group"
        )
    if master == "24bit" and param.dtype == torch.float16:
        raise UsageError(
            f"master='24bit' is for bfloat16, and {label(groups, param)} is float16, which has "
            "too few exponents for what is small; use master='float32'"
        )


def _check_states(asked: Any, family: Family, rule: Rule, param: Tensor, groups: Groups) -> None:
    by_name = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(rule.states, asked)
    unknown = by_name.keys() - set(rule.states)
    known = _known_states(family, rule, groups, unknown) if unknown else rule.states
    if unknown := unknown - set(known):
        raise UsageError(
            f"state_dtype names {', '.join(map(repr, sorted(unknown)))}, and the states are "
            f"{', '.join(map(repr, known)) or 'none'}"
        )
    rounded = [name for name in rule.exact if by_name.get(name) not in (None, "float32")]
    if rounded:
        raise UsageError(
            f"the state {rounded[0]!r} must not be rounded: the update depends on how little it "
            "differs from others; give state_dtype as a dictionary without "
            f"{' and '.join(map(repr, rule.exact))}"
        )
    shaped = [name for name in rule.shapes if name in by_name and isinstance(asked, Mapping)]
    if any(by_name[name] not in (None, "float32") for name in shaped):
        raise UsageError(
            f"state_dtype names {shaped[0]!r}, which is not of its parameter's shape and is never "
            "rounded below float32; give state_dtype as a dictionary without it"
        )
    if param.dtype not in _WITH_STATE_DTYPE:
        raise UsageError(
            f"state_dtype is for float32, bfloat16 and float16 parameters, and "
            f"{label(groups, param)} is {param.dtype}; use state_dtype=None for its group"
        )
