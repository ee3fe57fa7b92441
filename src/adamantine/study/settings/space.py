"""Which settings a study tries: ranges and choices, as typed or as an optimizer declares them."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamantine.errors import UsageError
from adamantine.optim.base import RuleOptimizer
from adamantine.optim.by_name import OPTIMIZERS
from adamantine.optim.usage.spelling import nearest
from adamantine.rules.hyperparameters import (
    BETAS,
    EPS,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Hyperparameter,
)
from adamantine.study.settings import literals
from adamantine.study.settings.contestants import Contestant, takes_any

NOTHING = inspect.Parameter.empty
"""No value, not even None; what has no default has this one."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included.

    Parameters
    ----------
    low, high
        The ends.
    log
        Whether they are spread evenly on a log scale.
    integer
        Whether there are only whole ones.
    complement
        Whether the scale is that of 1 - x: with `log`, 0.9, 0.99 and 0.999 are evenly spread.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    complement: bool = False

    def at(self, share: float) -> float:
        """The number that lies `share` (0 to 1) of the way from `low` to `high`.

        Rounded to 6 significant digits, of 1 - x with `complement`, so that it prints well.
        """
        if self.complement:
            mirrored = Range(1 - self.high, 1 - self.low, self.log)
            found = round(1 - mirrored.at(1 - share), 15)
        elif self.integer:
            # Each whole number has the same part of the scale, if that is not logarithmic.
            low, high = self.low - 0.5, self.high + 0.5
            found = round(Range(low, high, self.log)._between(share))
        else:
            found = rounded(self._between(share))
        return min(max(found, self.low), self.high)

    def nearest(self, value: Any) -> Any:
        """Itself, or the end that is nearer to it; :data:`NOTHING` for what is no number."""
        return min(max(value, self.low), self.high) if _is_number(value) else NOTHING

    def _between(self, share: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) * (1 - share) + math.log(self.high) * share)
        return self.low * (1 - share) + self.high * share

    def __contains__(self, value: Any) -> bool:
        return _is_number(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of `options`."""

    options: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The option that lies `share` (0 to 1) of the way through."""
        return self.options[min(int(share * len(self.options)), len(self.options) - 1)]

    def nearest(self, value: Any) -> Any:
        """The option that is `value`, be it 1 or 1.0; :data:`NOTHING` if none is."""
        same = (option for option in self.options if _same(option, value))
        return next(same, NOTHING)

    def __contains__(self, value: Any) -> bool:
        return self.nearest(value) is not NOTHING


Space = Mapping[str, Range | Choice]
"""By setting; ``betas.0`` is the first element of ``betas``."""


def rounded(value: float) -> float:
    """`value` to 6 significant digits: 1e-3 times 0.1 is 1e-4 then."""
    return float(f"{value:.6g}")


def parse_space(
    texts: Sequence[str], contestants: Sequence[Contestant]
) -> dict[str, dict[str, Range | Choice]]:
    """What ``--space`` says, for each contestant by its name.

    Parameters
    ----------
    texts
        Each has entries with commas between: ``lr=1e-5:1e-1:log``, ``nesterov=true|false``,
        ``betas.1=0.9:0.999:complement``. Such an entry is for all contestants that have the
        setting; with a contestant's name in front (``adamw:weight_decay=0:0.1``) it is for that
        one alone, where it comes in place of one for all.
    contestants
        All of the study.

    Raises
    ------
    UsageError
        Naming the entry and what is wrong with it.
    """
    common: dict[str, dict[str, Range | Choice]] = {each.name: {} for each in contestants}
    special: dict[str, dict[str, Range | Choice]] = {each.name: {} for each in contestants}
    for entry in (entry for text in texts for entry in literals.split(text, ",")):
        try:
            only, setting, text = _parts(entry, contestants)
            having = [each for each in [only] if each] or [
                c for c in contestants if _has(c, setting)
            ]
            if not having or (only and not _has(only, setting) and not takes_any(only.cls)):
                raise UsageError(_nobody_has(setting, [only] if only else contestants))
            spaces = special if only else common
            for each in having:
                if setting in spaces[each.name]:
                    raise UsageError(f"{setting} is given twice")
                spaces[each.name][setting] = _values(text, each, setting)
        except UsageError as error:
            raise UsageError(f"space {entry!r}: {error}") from error
    found = {name: {**common[name], **special[name]} for name in common}
    for each in contestants:
        _check(each, found[each.name])
    return found


def _parts(entry: str, contestants: Sequence[Contestant]) -> tuple[Contestant | None, str, str]:
    """The contestant in front of an entry if there is one, the setting and its values."""
    # Names have colons and equals signs, so they are looked for as a whole, the longest first.
    known = _by_name(contestants)
    only: Contestant | None
    for name in sorted(known, key=len, reverse=True):
        if entry.startswith(f"{name}:"):
            only, rest = known[name], entry[len(name) + 1 :]
            break
    else:
        only, rest = None, entry
    left, equals, text = rest.partition("=")
    name, colon, setting = left.rpartition(":")
    if colon:
        names = [each.name for each in contestants]
        near = nearest(name.strip(), names, cutoff=0.6)
        raise UsageError(
            f"there is no contestant {name.strip()!r}; "
            + (f"did you mean {near!r}? " if near else "")
            + f"there are {', '.join(names)}"
        )
    if not (equals and re.fullmatch(r"[^\W\d]\w*(\.\d+)?", setting.strip()) and text.strip()):
        raise UsageError("expected setting=low:high, setting=low:high:log or setting=one|other")
    return only, setting.strip(), text.strip()


def _by_name(contestants: Sequence[Contestant]) -> dict[str, Contestant]:
    """By name, and by the name without settings where that is of one of them alone."""
    heads = [each.name.partition("(")[0] for each in contestants]
    short = {
        head: each
        for head, each in zip(heads, contestants, strict=True)
        if heads.count(head) == 1 and "#" not in each.name
    }
    return {**short, **{each.name: each for each in contestants}}


def _has(contestant: Contestant, setting: str) -> bool:
    try:
        contestant.default(setting)
    except KeyError:
        return False
    return True


def _nobody_has(setting: str, contestants: Sequence[Contestant]) -> str:
    whole, dot, place = setting.partition(".")
    known = list(dict.fromkeys(name for each in contestants for name in each.defaults()))
    if dot and whole in known:
        return f"{whole} has no element {place}; the first one is {whole}.0"
    near = nearest(whole, known, cutoff=0.6)
    hint = f"did you mean {near!r}? " if near else ""
    names = ", ".join(each.name for each in contestants)
    return f"none of {names} has a setting {whole!r}; {hint}there are {', '.join(known)}"


def _values(text: str, contestant: Contestant, setting: str) -> Range | Choice:
    options = literals.split(text, "|")
    if len(options) > 1:
        values = tuple(literals.value(option) for option in options)
        if len(set(map(repr, values))) < len(values):
            raise UsageError("an option is given twice")
        if setting == "lr" and not all(_is_number(lr) and lr > 0 for lr in values):
            raise UsageError("learning rates have to be numbers above 0")
        return Choice(values)
    low_text, *rest = literals.split(text, ":")
    if not rest:
        raise UsageError(
            "that is one value; expected low:high, low:high:log or one|other. What all trials share"
            f" belongs to the contestant: {contestant.name}:{setting}={text}"
        )
    high_text, scale = rest[0], ":".join(rest[1:]) or "linear"
    if scale not in ("linear", "log", "complement"):
        raise UsageError(f"{scale!r} is no scale; expected log, complement (1 - x on log) or none")
    low, high = literals.value(low_text), literals.value(high_text)
    for end, end_text in ((low, low_text), (high, high_text)):
        if not _is_number(end):
            raise UsageError(f"{end_text!r} is not a number, as the ends of a range have to be")
    if not low < high:
        raise UsageError(f"the low end {low_text} is not below the high end {high_text}")
    if scale == "log" and low <= 0:
        raise UsageError(f"the low end {low_text} is not above 0, as a log scale needs")
    if scale == "complement" and high >= 1:
        raise UsageError(f"the high end {high_text} is not below 1, as the scale complement needs")
    if setting == "lr" and low <= 0:
        raise UsageError(f"the low end {low_text} is not above 0, as a learning rate has to be")
    integer = isinstance(low, int) and isinstance(high, int) and _is_whole(contestant, setting)
    complement = scale == "complement"
    if integer:
        return Range(low, high, scale == "log", integer=True)
    return Range(float(low), float(high), scale != "linear", complement=complement)


def _same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b) or (_is_number(a) and _is_number(b) and a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(contestant: Contestant, setting: str) -> bool:
    """Whether a setting is a whole number: by its annotation, or without one by its default.

    A default of 0 tells nothing: ``weight_decay=0`` is followed by 0.01.
    """
    annotation = contestant.annotation(setting)
    if annotation:
        return bool(re.search(r"\bint\b", annotation)) and "float" not in annotation
    default = contestant.default(setting) if _has(contestant, setting) else 0
    return isinstance(default, int) and not isinstance(default, bool) and default != 0


COMBINATIONS = 1000
"""Of choices, that are tried before any training."""


def _check(contestant: Contestant, space: Space) -> None:
    """Raise :class:`UsageError` unless the contestant can be built all over its space.

    Each option and each end of a range has to work, alone or with some of the other choices:
    ``nesterov=true`` needs ``momentum=0.5:0.9``. Then all combinations of choices have to, with
    ranges at their middle: those are drawn, and ends hardly ever.
    """
    middle = {name: values.at(0.5) for name, values in space.items()}
    combinations = [{**middle, **chosen} for chosen in _combinations(space)]
    for name, values in space.items():
        extremes = values.options if isinstance(values, Choice) else (values.low, values.high)
        for value in extremes:
            tried = ({name: value}, *({**others, name: value} for others in combinations))
            if not any(contestant.takes(contestant.with_values(each)) for each in tried):
                _try(contestant, {name: value})
    for combination in combinations:
        _try(contestant, combination)


def _combinations(space: Space) -> Iterator[dict[str, Any]]:
    choices = {name: v.options for name, v in space.items() if isinstance(v, Choice)}
    products = itertools.islice(itertools.product(*choices.values()), COMBINATIONS)
    return (dict(zip(choices, values, strict=True)) for values in products)


def _try(contestant: Contestant, values: Mapping[str, Any]) -> None:
    try:
        contestant.check(contestant.with_values(values))
    except UsageError as error:
        what = ", ".join(f"{name}={literals.typed(value)}" for name, value in values.items())
        raise UsageError(f"space {what}: {error}") from error


def own_space(contestant: Contestant) -> dict[str, Range | Choice]:
    """The space that an optimizer declares for a search (``Hyperparameter.search``).

    What was typed is held, except for the learning rate, which the search is around then. Switches
    (``nesterov``, ``amsgrad``) make another algorithm, and are not searched unless asked for.
    torch's classes are searched as ours of the same name, others over the settings of the usual
    names that have a number by default.
    """
    space: dict[str, Range | Choice] = {}
    for hyperparameter in _hyperparameters(contestant):
        name = hyperparameter.name
        if name == "lr":
            space[name] = _searched(hyperparameter, contestant.default_lr)
        elif name in contestant.settings or name not in contestant.defaults():
            continue
        else:
            default = contestant.default(name)
            elements = (
                {f"{name}.{place}": element for place, element in enumerate(default)}
                if isinstance(default, tuple)
                else {name: default}
            )
            for key, element in elements.items():
                if _is_number(element):
                    space[key] = _searched(hyperparameter, element)
    return {name: values for name, values in space.items() if _works(contestant, name, values)}


def _hyperparameters(contestant: Contestant) -> list[Hyperparameter]:
    cls = contestant.cls
    if cls.__module__.startswith("torch.optim."):
        cls = OPTIMIZERS.get(cls.__name__.lower(), cls)
    found = (
        cls.family.hyperparameters
        if issubclass(cls, RuleOptimizer)
        else (LEARNING_RATE, BETAS, EPS, WEIGHT_DECAY, MOMENTUM)
    )
    return [hyperparameter for hyperparameter in found if hyperparameter.search is not None]


def _searched(hyperparameter: Hyperparameter, default: float) -> Range:
    search = hyperparameter.search
    assert search is not None
    if search.scale == "log":
        unit = default if search.of_default else 1.0
        return Range(rounded(search.low * unit), rounded(search.high * unit), log=True)
    unit = 1 - default if search.of_default else 1.0
    # An average over fewer than two steps is none.
    most = min(search.high * unit, 0.5) if search.of_default else search.high
    low, high = (round(1 - rounded(x), 15) for x in (most, search.low * unit))
    return Range(low, high, log=True, complement=True)


def _works(contestant: Contestant, name: str, values: Range | Choice) -> bool:
    if isinstance(values, Range) and not (
        values.low < values.high and (values.complement or values.low > 0)
    ):
        return False  # a class whose default is 0, or 1
    return all(contestant.takes(contestant.with_values({name: values.at(x)})) for x in (0, 1))
