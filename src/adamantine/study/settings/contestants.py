"""Who takes part in a study: optimizers as they are typed, ``adamw:weight_decay=0.1``."""

from __future__ import annotations

import inspect
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from adamantine.errors import UsageError
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.by_name import OPTIMIZERS, Parameters, for_class, keywords
from adamantine.optim.usage.options import NAMES, Options
from adamantine.optim.usage.spelling import nearest
from adamantine.study.settings import literals
from adamantine.train.loop import to_training
from adamantine.workloads.importing import Importer

ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "momentum": ("sgd", {"momentum": 0.9}),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}),
    "amsgrad": ("adam", {"amsgrad": True}),
    # One learning rate serves its matrices and what AdamW has, so one is all that is searched.
    "muon": ("muon", {"adjust_lr_fn": "match_rms_adamw"}),
}
"""Names that stand for a class here with a setting: algorithms that are known by one of their own,
and what a study takes a class with."""

TORCH = {
    name: cls
    for name, cls in sorted(vars(torch.optim).items())
    if inspect.isclass(cls) and issubclass(cls, Optimizer) and cls is not Optimizer
}
UNSUITABLE = {
    "LBFGS": "its step calls a closure again and again, and the training loop gives it none",
    "SparseAdam": "it takes sparse gradients only; give adam:sparse=lazy, which takes both",
    "Muon": "it takes matrices only, and models have biases as well; give muon, which hands these "
    "to AdamW",
}
"""Those of torch's that a study cannot train a whole model with, and why."""

_IMPORTER = Importer("contestant", "Class", "my_module:MyOptimizer", UsageError)


def names() -> list[str]:
    """All that can be typed without knowing a module: for completion and messages."""
    suitable = [f"torch:{name}" for name in TORCH if name not in UNSUITABLE]
    return [*sorted({*OPTIMIZERS, *ALIASES}), *suitable]


@dataclass(frozen=True)
class Contestant:
    """An optimizer with the settings that were typed.

    Parameters
    ----------
    name
        As reports print it; unique in the study.
    spec
        What was typed; :func:`parse_contestants` makes the same contestant of it in another
        process.
    optimizer
        The class: ``adamantine.Adam``, ``torch.optim.Adam``, ``my_module.Mine``.
    settings
        Those typed, and those that an alias stands for.
    default_lr
        The typed learning rate, or else the class's default: where a search begins.
    cls
        The class itself.
    """

    name: str
    spec: str
    optimizer: str
    settings: Mapping[str, Any]
    default_lr: float
    cls: type[Optimizer] = field(repr=False)

    @property
    def source(self) -> str:
        """A sum over the modules of a user's class, so that an edited one is noticed.

        Empty for ours and torch's, whose versions are known, and where there is no text.
        """
        total = 0
        for module in dict.fromkeys(cls.__module__ for cls in self.cls.__mro__):
            if module.partition(".")[0] not in ("adamantine", "torch", "builtins"):
                with suppress(KeyError, OSError, TypeError):
                    total = zlib.crc32(inspect.getsource(sys.modules[module]).encode(), total)
        return f"{total:08x}" if total else ""

    def build(
        self,
        model: Parameters,
        settings: Mapping[str, Any],
    ) -> Optimizer:
        """The optimizer of a model with `settings`; those typed that they leave out are added.

        Parameters
        ----------
        model
            Or its parameters.
        settings
            As for :meth:`with_values`.
        """
        given = for_class(self.cls, model)
        return cast(Any, self.cls)(given, **self.with_values(settings))  # type: ignore[no-any-return]

    def with_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The typed settings with `values` in their place or beside them.

        Parameters
        ----------
        values
            By setting. ``betas.0`` is the first element of ``betas``, whose others stay as typed or
            at their defaults. Lists are taken for tuples, since JSON knows no others.
        """
        settings = dict(self.settings)
        for name, value in values.items():
            whole, dot, place = name.partition(".")
            if dot:
                elements = list(settings.get(whole, self.defaults()[whole]))
                elements[int(place)] = value
                settings[whole] = tuple(elements)
            else:
                settings[name] = tuple(value) if isinstance(value, list) else value
        return settings

    def default(self, setting: str) -> Any:
        """The typed value of a setting, or else its default; ``betas.0`` as in `with_values`.

        ``inspect.Parameter.empty`` where there is no default, and KeyError where there is no such
        setting.
        """
        whole, dot, place = setting.partition(".")
        found = {**self.defaults(), **self.settings}[whole]
        if not dot:
            return found
        if not isinstance(found, tuple | list) or not place.isdecimal() or int(place) >= len(found):
            raise KeyError(setting)
        return found[int(place)]

    def defaults(self) -> dict[str, Any]:
        """The class's settings and their defaults; None for what every optimizer of ours takes."""
        own = {name: p.default for name, p in keywords(self.cls).items() if name != "params"}
        options = NAMES if _takes_options(self.cls) else ()
        return {**own, **{name: None for name in options if name not in own}}

    def annotation(self, setting: str) -> str:
        """How a setting is annotated, as text; empty where it is not."""
        parameter = keywords(self.cls).get(setting)
        found = Options.__annotations__.get(setting, "") if parameter is None else (
            "" if parameter.annotation is parameter.empty else parameter.annotation
        )  # fmt: skip
        return str(getattr(found, "__forward_arg__", getattr(found, "__name__", found)))

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise :class:`UsageError` unless the class can be built with `settings`, and does a step.

        The step, on one parameter of one element, finds classes that need more than a gradient.
        Ours do not, and their step may have to be compiled.
        """
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.ones(1)
        with torch.random.fork_rng(devices=[]):
            try:
                optimizer = self.build([("parameter", parameter)], settings)
                if not issubclass(self.cls, RuleOptimizer):
                    to_training(optimizer)
                    optimizer.step()
            except UsageError as error:
                raise UsageError(f"contestant {self.name}: {error}") from error
            except Exception as error:  # whatever a user's class raises
                raise UsageError(
                    f"contestant {self.name}: {self.optimizer} does not work with"
                    f" {_in_words(settings)}: {type(error).__name__}: {error}"
                ) from error

    def takes(self, settings: Mapping[str, Any]) -> bool:
        """Whether :meth:`check` finds nothing wrong."""
        try:
            self.check(settings)
        except UsageError:
            return False
        return True


def parse_contestants(specs: Sequence[str]) -> list[Contestant]:
    """The contestants that `specs` name; one that is named again gets ``#2`` behind its name.

    Parameters
    ----------
    specs
        Each a name (see :func:`names`) or ``module:Class``, and settings behind another colon:
        ``adam``, ``momentum``, ``adamw:weight_decay=0.1,state_dtype=int8``, ``torch:SGD:lr=0.1``,
        ``my_module:Mine:lr=0.1,betas=(0.9,0.99)``. Any subclass of ``torch.optim.Optimizer`` will
        do whose learning rate is called `lr` and whose step needs no closure.

    Raises
    ------
    UsageError
        Naming the spec and what is wrong with it. Errors of a user's module, other than that it
        cannot be found or imported, come through as they are.
    """
    contestants: dict[str, Contestant] = {}
    for spec in specs:
        contestant, number = parse_contestant(spec), 1
        name = contestant.name
        while name in contestants:
            number += 1
            name = f"{contestant.name}#{number}"
        contestants[name] = replace(contestant, name=name)
    return list(contestants.values())


def sources_of(contestants: Iterable[Contestant]) -> dict[str, str]:
    """By name, for those whose class is the user's own."""
    return {each.name: source for each in contestants if (source := each.source)}


def parse_contestant(spec: str) -> Contestant:
    """One of :func:`parse_contestants`, alone."""
    spec = spec.strip()
    try:
        head, cls, text, settings = _found(spec)
        given = _settings(text)
    except UsageError as error:
        prefix = "" if str(error).startswith("contestant ") else f"contestant {spec!r}: "
        raise UsageError(f"{prefix}{error}") from error
    _check_closure(spec, cls)
    written = ",".join(f"{name}={literals.typed(setting)}" for name, setting in given.items())
    module, _, attribute = head.rpartition(":")
    dotted = {"": f"adamantine.{cls.__name__}", "torch": f"torch.optim.{attribute}"}
    contestant = Contestant(
        name=f"{head}({written})" if written else head,
        spec=spec,
        optimizer=dotted.get(module, f"{module}.{attribute}"),
        settings={**settings, **given},
        default_lr=0.0,
        cls=cls,
    )
    _check_names(contestant)
    contestant = replace(contestant, default_lr=_learning_rate(contestant))
    contestant.check(contestant.settings)
    return contestant


def _found(spec: str) -> tuple[str, type[Optimizer], str, dict[str, Any]]:
    """What stands before the settings, the class it names, the settings' text and an alias's."""
    head, _, rest = spec.partition(":")
    head = head.strip()
    if head in OPTIMIZERS or head in ALIASES:
        name, settings = ALIASES.get(head, (head, {}))
        return head, OPTIMIZERS[name], rest, settings
    attribute, _, text = rest.partition(":")
    attribute = attribute.strip()
    if not rest or "=" in attribute:
        near = nearest(head, names(), cutoff=0.6)
        hint = f"did you mean {near!r}? " if near else ""
        raise UsageError(
            f"there is no optimizer {head!r}; {hint}there are {', '.join(names())}, and your own"
            " as module:Class"
        )
    found = _torchs(attribute) if head == "torch" else _IMPORTER.find(f"{head}:{attribute}")
    if not (inspect.isclass(found) and issubclass(found, Optimizer)):
        what = found.__name__ if inspect.isclass(found) else f"a {type(found).__name__}"
        raise UsageError(f"it is {what}, expected a subclass of torch.optim.Optimizer")
    if found in (Optimizer, RuleOptimizer):
        raise UsageError(f"{found.__name__} is the base of optimizers, give one of them")
    return f"{head}:{attribute}", found, text, {}


def _torchs(name: str) -> type[Optimizer]:
    if name not in TORCH:
        near = nearest(name, TORCH, cutoff=0.6)
        hint = f"did you mean torch:{near}? " if near else ""
        suitable = [known for known in TORCH if known not in UNSUITABLE]
        raise UsageError(f"torch.optim has no {name!r}; {hint}there are {', '.join(suitable)}")
    if name in UNSUITABLE:
        raise UsageError(f"{name} cannot take part: {UNSUITABLE[name]}")
    return TORCH[name]


def _settings(text: str) -> dict[str, Any]:
    """The settings in ``name=value,name=value``."""
    settings: dict[str, Any] = {}
    for entry in literals.split(text, ",") if text.strip() else ():
        name, equals, written = entry.partition("=")
        name = name.strip()
        if not (equals and name.isidentifier() and written.strip()):
            raise UsageError(
                f"{entry!r} is no setting; expected name=value, with commas between, and tuples"
                " in parentheses: betas=(0.9,0.99)"
            )
        if name in settings:
            raise UsageError(f"{name} is given twice")
        try:
            settings[name] = literals.value(written)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    return settings


def _takes_options(cls: type[Optimizer]) -> bool:
    return issubclass(cls, RuleOptimizer) and _has_kwargs(cls)


def takes_any(cls: type[Optimizer]) -> bool:
    """Whether nobody but the class itself knows all of its settings, for it has ``**kwargs``."""
    return _has_kwargs(cls) and not issubclass(cls, RuleOptimizer)


def _has_kwargs(cls: type[Optimizer]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def _check_names(contestant: Contestant) -> None:
    defaults, cls = contestant.defaults(), contestant.cls
    for name, setting in contestant.settings.items():
        if name not in defaults and (name == "params" or not takes_any(cls)):
            near = nearest(name, defaults, cutoff=0.6)
            hint = f"did you mean {near!r}? " if near else ""
            raise UsageError(
                f"contestant {contestant.spec!r}: {contestant.optimizer} has no setting {name!r};"
                f" {hint}it has {', '.join(defaults)}"
            )
        default = defaults.get(name)
        if isinstance(default, tuple) and (
            not isinstance(setting, tuple) or len(setting) != len(default)
        ):
            raise UsageError(
                f"contestant {contestant.spec!r}: {name} is {literals.typed(setting)}, expected"
                f" {len(default)} values in parentheses: {name}={literals.typed(default)}"
            )


def _check_closure(spec: str, cls: type[Optimizer]) -> None:
    _, *others = inspect.signature(cls.step).parameters.values()  # the first one is self
    needed = [
        p.name
        for p in others
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise UsageError(
            f"contestant {spec!r}: {cls.__name__}.step needs {', '.join(needed)}, and the training"
            " loop calls it without arguments"
        )


def _learning_rate(contestant: Contestant) -> float:
    found = contestant.settings.get("lr", contestant.defaults().get("lr", inspect.Parameter.empty))
    if found is inspect.Parameter.empty:
        takes_lr = "lr" in contestant.defaults() or takes_any(contestant.cls)
        raise UsageError(
            f"contestant {contestant.spec!r}: "
            + (
                f"{contestant.optimizer} has no default learning rate; give it one: lr=0.01"
                if takes_lr
                else f"{contestant.optimizer} has no setting called lr, which a study changes"
            )
        )
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise UsageError(
            f"contestant {contestant.spec!r}: lr is {found!r}, expected a number > 0, which the"
            " learning rates to try are around; give one: lr=0.01"
        )
    return float(found)


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={literals.typed(v)}" for k, v in settings.items()) or "its defaults"
