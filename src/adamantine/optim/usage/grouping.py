"""Parameter groups by name, and the usual split between what decays and what does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from adamantine.errors import UsageError
from adamantine.optim.usage.labels import several

Group = dict[str, Any]
Pattern = str | re.Pattern[str] | Callable[[str, nn.Parameter], bool]
Rules = Mapping[Any, Mapping[str, Any]] | Iterable[tuple[Pattern, Mapping[str, Any]]]

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class _Named:
    """A parameter with all its names: a tied one has several, and the first one stands for it."""

    param: nn.Parameter
    names: list[str]


def groups(
    model: nn.Module | Iterable[tuple[str, nn.Parameter]],
    rules: Rules,
    *,
    default: Mapping[str, Any] | None = None,
) -> list[Group]:
    r"""Parameter groups for any optimizer, by rules over the parameters' names.

    Every trainable parameter goes to the first rule that matches it. Frozen parameters
    (``requires_grad=False``) are left out. A parameter that the model has under several names
    (tied weights) is matched under each of them and appears once, under its first name.

    Parameters
    ----------
    model
        A module, or ``(name, parameter)`` pairs.
    rules
        ``{pattern: settings}`` or a list of ``(pattern, settings)``, in order. A pattern is a
        regular expression, found anywhere in the name (``re.search``: anchor it with ``^`` and
        ``$``), or a function ``(name, parameter) -> bool``. The settings are those of one group,
        for example ``{"lr": 1e-4}``; settings that are missing are the optimizer's own.
    default
        Settings of the parameters that no rule matches; ``{}`` for the optimizer's own. Unlike the
        catch-all rule ``".*"``, it may match nothing. If None, a parameter that no rule matches is
        an error.

    Returns
    -------
    list of dict
        One group per rule, in the order of the rules, and then `default`. Their ``"params"`` are
        ``(name, parameter)`` pairs, so that the names are kept in the optimizer's state.

    Raises
    ------
    UsageError
        A ``ValueError``: if a rule matches nothing, or only parameters that earlier rules have
        taken, or only frozen parameters; if no rule matches a parameter; if a pattern is not a
        valid regular expression.

    Notes
    -----
    A rule that has no effect is an error because it is nearly always a misspelt name, and a run
    without the intended setting is wasted.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    >>> rules = {r"\.bias$": {"weight_decay": 0.0}, r"^1\.": {"lr": 1e-2}, ".*": {}}
    >>> optimizer = adamantine.AdamW(adamantine.groups(model, rules), lr=1e-3)
    >>> [group["param_names"] for group in optimizer.param_groups]
    [['0.bias', '1.bias'], ['1.weight'], ['0.weight']]
    """
    named = _all_named(model)
    trainable = [entry for entry in named if entry.param.requires_grad]
    made: list[Group] = []
    taken_by: dict[nn.Parameter, str] = {}
    for pattern, settings in rules.items() if isinstance(rules, Mapping) else rules:
        matches, rule = _predicate(pattern), _in_words(pattern)
        found = [e for e in trainable if any(matches(name, e.param) for name in e.names)]
        mine = [e for e in found if e.param not in taken_by]
        if not mine:
            raise UsageError(_why_idle(rule, matches, found, named, taken_by))
        taken_by.update((e.param, rule) for e in mine)
        made.append(_group(mine, settings, rule))
    left = [e for e in trainable if e.param not in taken_by]
    if left and default is None:
        raise UsageError(
            f"no rule covers {_some(left)}; add a rule for what is left, or default={{}} to give "
            "it the optimizer's own settings"
        )
    if left and default is not None:
        made.append(_group(left, default, "default"))
    return made


def no_decay(
    model: nn.Module, weight_decay: float | None = None, *, embeddings: bool = False
) -> list[Group]:
    r"""The usual two groups: matrices decay; biases and the gains of norms do not.

    Parameters
    ----------
    model
        The module; frozen parameters (``requires_grad=False``) are left out.
    weight_decay
        The weight decay of the decaying group; None for the optimizer's own setting.
    embeddings
        Exempt the weights of ``nn.Embedding`` and ``nn.EmbeddingBag`` as well. A weight tied to an
        output layer counts as an embedding.

    Returns
    -------
    list of dict
        The decaying group, then the one with ``weight_decay=0``, with ``(name, parameter)`` pairs.
        An empty group is left out.

    Raises
    ------
    UsageError
        A ``ValueError``, if the model has no trainable parameter.

    Notes
    -----
    Exempt are the parameters for which decay towards zero makes no sense. This depends on what a
    parameter is, not on the name of its module:

    - parameters of fewer than two dimensions (nanoGPT's convention, which also covers the biases
      and norms of your own classes);
    - biases by their name in their own module, of any shape (``bias``, ``bias_k``);
    - all parameters of torch's batch, instance, layer, group and RMS norms;
    - with `embeddings`, those of embeddings.

    nanoGPT and Hugging Face's ``Trainer`` decay embeddings; the original GPT and minGPT do not.

    Examples
    --------
    >>> import torch, adamantine
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8))
    >>> optimizer = adamantine.AdamW(adamantine.no_decay(model), lr=1e-3, weight_decay=0.1)
    >>> [(g["weight_decay"], g["param_names"]) for g in optimizer.param_groups]
    [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    trainable = [entry for entry in _all_named(model) if entry.param.requires_grad]
    spared = _spared(model, embeddings)
    decaying = [e for e in trainable if e.param not in spared]
    resting = [e for e in trainable if e.param in spared]
    own = {} if weight_decay is None else {"weight_decay": weight_decay}
    split = ((decaying, own), (resting, {"weight_decay": 0.0}))
    return [_group(entries, settings, "no_decay") for entries, settings in split if entries]


def _all_named(model: nn.Module | Iterable[tuple[str, nn.Parameter]]) -> list[_Named]:
    if isinstance(model, nn.Module):
        pairs: Iterable[Any] = model.named_parameters(remove_duplicate=False)
    else:
        pairs = model
    by_param: dict[nn.Parameter, _Named] = {}
    for pair in pairs:
        if not isinstance(pair, tuple):
            raise UsageError(
                f"expected a module or (name, parameter) pairs, got a {type(pair).__name__} among "
                "them; pass the model, or model.named_parameters() instead of model.parameters()"
            )
        name, param = pair
        by_param.setdefault(param, _Named(param, [])).names.append(name)
    named = list(by_param.values())
    if not any(entry.param.requires_grad for entry in named):
        state = "all of its parameters are frozen" if named else "it has no parameters"
        raise UsageError(f"there is nothing to train in the model: {state}")
    return named


def _predicate(pattern: Pattern) -> Callable[[str, nn.Parameter], bool]:
    if not isinstance(pattern, str | re.Pattern):
        if not callable(pattern):
            raise UsageError(
                f"a rule's pattern is a regular expression or a function (name, parameter) -> "
                f"bool; got {pattern!r}"
            )
        return pattern
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UsageError(f"the rule {pattern!r} is no regular expression: {error}") from error
    return lambda name, _: search(name) is not None


def _in_words(pattern: Pattern) -> str:
    if isinstance(pattern, re.Pattern):
        return repr(pattern.pattern)
    return repr(pattern) if isinstance(pattern, str) else getattr(pattern, "__name__", "function")


def _group(entries: list[_Named], settings: Mapping[str, Any], rule: str) -> Group:
    if not isinstance(settings, Mapping):
        raise UsageError(f"the settings of the rule {rule} are {settings!r}, expected a dictionary")
    for key in ("params", "param_names"):
        if key in settings:
            raise UsageError(
                f"the settings of the rule {rule} hold {key!r}, which the rule decides"
            )
    return {"params": [(e.names[0], e.param) for e in entries], **settings}


def _why_idle(
    rule: str,
    matches: Callable[[str, nn.Parameter], bool],
    found: list[_Named],
    named: list[_Named],
    taken_by: dict[nn.Parameter, str],
) -> str:
    if found:
        takers = ", ".join(dict.fromkeys(taken_by[e.param] for e in found))
        return (
            f"the rule {rule} matches {_some(found)}, but earlier rules ({takers}) have taken all "
            "of them; move it before those, or remove it"
        )
    frozen = [e for e in named if any(matches(name, e.param) for name in e.names)]
    if frozen:
        return (
            f"the rule {rule} matches frozen parameters only ({_some(frozen)}); set their "
            "requires_grad first, or remove it"
        )
    return f"the rule {rule} matches no parameter; the model has {_some(named)}"


def _some(entries: list[_Named]) -> str:
    return several([repr(entry.names[0]) for entry in entries])


def _spared(model: nn.Module, embeddings: bool) -> set[nn.Parameter]:
    kinds = (*NORMS, *EMBEDDINGS) if embeddings else NORMS
    return {
        param
        for module in model.modules()
        for name, param in _own_parameters(module)
        if param.dim() < 2
        or name == "bias"
        or name.startswith("bias_")
        or isinstance(module, kinds)
    }


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """A module's direct parameters, and those that stand in for a parametrized one."""
    yield from module.named_parameters(recurse=False, remove_duplicate=False)
    if parametrize.is_parametrized(module):
        for name, originals in module.parametrizations.items():  # type: ignore[operator, union-attr]
            for param in originals.parameters(recurse=False):
                yield name, param
