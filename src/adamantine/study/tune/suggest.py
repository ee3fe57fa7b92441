"""From a search's space to the settings of one trial."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optuna.trial import BaseTrial

from adamantine.errors import UsageError
from adamantine.study.settings import literals
from adamantine.study.settings.contestants import Contestant
from adamantine.study.settings.space import NOTHING, Choice, Range, Space, own_space, parse_space
from adamantine.train.schedules import check_schedule

OPTIMIZER = "optimizer"
DIGITS = 3
"""Drawn numbers are rounded to so many digits: what is printed and pasted is what was tried."""


@dataclass(frozen=True)
class Setting:
    """What a trial tries.

    Parameters
    ----------
    contestant
        Its name.
    settings
        What the optimizer is built with, beside what was typed of its settings.
    training
        The loop's, where these are searched: ``batch_size``, ``schedule``.
    """

    contestant: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]


class Spaces:
    """What is searched: a space for each contestant, and one for the loop.

    Each optimizer is searched over the space that its hyperparameters declare; what `texts`
    names (as ``--space`` does) comes in its place or in addition. ``schedule=none|cosine`` and
    ``batch_size=32|64|128`` are the loop's, and are searched only if they are named.

    Raises
    ------
    UsageError
        A space is wrong, or names something that nothing has.
    """

    def __init__(self, contestants: Sequence[Contestant], texts: Sequence[str]) -> None:
        own, rest = _loops_own(texts)
        self.training: Space = own
        given = parse_space(rest, contestants)
        self.contestants = {each.name: each for each in contestants}
        self.spaces: dict[str, Space] = {
            each.name: _together(own_space(each), given.get(each.name, {})) for each in contestants
        }

    def suggest(self, trial: BaseTrial) -> Setting:
        """Let the sampler draw a setting."""
        names = list(self.spaces)
        several = len(names) > 1
        name = trial.suggest_categorical(OPTIMIZER, names) if several else names[0]
        contestant = self.contestants[name]
        flat = {
            key: _draw(trial, f"{name}.{key}" if several else key, within, begin)
            for key, within, begin in self._beginning(contestant)
        }
        training = {key: _draw(trial, key, within) for key, within in self.training.items()}
        typed = {key: repr(value) for key, value in contestant.settings.items()}
        settings = contestant.with_values(flat)
        # What was typed is in the contestant's name already, and `build` adds it.
        drawn = {k: v for k, v in settings.items() if typed.get(k) != repr(v)}
        return Setting(name, drawn, training)

    def starts(self, training: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Where the search begins: what Optuna draws for each optimizer's defaults.

        A number outside of its range is the end that is nearer to it. What has no default, or
        whose default is not among the options, is left to the sampler.

        Parameters
        ----------
        training
            The loop's settings where they are not searched.
        """
        several = len(self.spaces) > 1
        starts = []
        for name, contestant in self.contestants.items():
            start = {OPTIMIZER: name} if several else {}
            for key, within, begin in self._beginning(contestant):
                start.update(_drawn(f"{name}.{key}" if several else key, within, begin))
            for key, options in self.training.items():
                start.update(_drawn(key, options, options.nearest(training[key])))
            starts.append(start)
        return starts

    def _beginning(self, contestant: Contestant) -> Iterator[tuple[str, Range | Choice, Any]]:
        """An optimizer's space, and of each setting the value that is nearest to its default."""
        for key, within in self.spaces[contestant.name].items():
            yield key, within, within.nearest(_default(contestant, key))

    def to_json(self) -> dict[str, Any]:
        """For the plan: what decides the trials' distributions."""
        return {
            **{name: _described(space) for name, space in self.spaces.items()},
            **({"training": _described(self.training)} if self.training else {}),
        }


def _together(own: Space, given: Space) -> Space:
    """`given` in the place of `own`; all of ``betas`` is given in the place of ``betas.0``, too."""
    return {
        **{k: v for k, v in own.items() if k in given or k.partition(".")[0] not in given},
        **given,
    }


def _default(contestant: Contestant, key: str) -> Any:
    if key == "lr":
        return contestant.default_lr  # which may have been typed as a tensor
    with suppress(KeyError):  # only the class itself knows it
        return contestant.default(key)
    return NOTHING


def _draw(trial: BaseTrial, name: str, within: Range | Choice, begin: Any = NOTHING) -> Any:
    """What the sampler draws, in three digits; `begin` keeps all that it has."""
    if isinstance(within, Choice):
        # As text, since a storage holds no tuples.
        options = {literals.typed(option): option for option in within.options}
        return options[trial.suggest_categorical(name, list(options))]
    low, high = within.low, within.high
    if within.integer:
        return trial.suggest_int(name, round(low), round(high), log=within.log)
    own = _drawn(name, within, begin)
    if within.complement:
        rest = trial.suggest_float(f"1-{name}", 1 - high, 1 - low, log=within.log)
        value = begin if rest in own.values() else round(1 - _rounded(rest), 12)
    else:
        drawn = trial.suggest_float(name, low, high, log=within.log)
        value = begin if drawn in own.values() else _rounded(drawn)
    return min(max(value, low), high)


def _drawn(name: str, within: Range | Choice, value: Any) -> dict[str, Any]:
    """What :func:`_draw` has to draw for `value`, which is in its space; empty for nothing."""
    if value is NOTHING:
        return {}
    if isinstance(within, Choice):
        return {name: literals.typed(value)}
    if within.integer:
        return {name: round(value)}
    return {f"1-{name}": 1 - value} if within.complement else {name: value}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _described(space: Space) -> dict[str, Any]:
    return {
        name: list(within.options) if isinstance(within, Choice) else vars(within)
        for name, within in space.items()
    }


def _loops_own(texts: Sequence[str]) -> tuple[dict[str, Choice], list[str]]:
    """Choices of the loop's settings, and what is left for the optimizers."""
    own: dict[str, Choice] = {}
    rest: list[str] = []
    for item in (item for text in texts for item in literals.split(text, ",")):
        name, equals, values = item.partition("=")
        if not equals or name not in ("schedule", "batch_size"):
            rest.append(item)
            continue
        if name in own:
            raise UsageError(f"space {item!r}: {name} is given twice")
        options = tuple(_value(name, value, item) for value in values.split("|"))
        if len(set(options)) < max(len(options), 2):
            raise UsageError(
                f"space {item!r}: expected two or more that differ; one alone is given as "
                f"--{name.replace('_', '-')}"
            )
        own[name] = Choice(options)
    return own, rest


def _value(name: str, text: str, item: str) -> Any:
    if name == "schedule":
        check_schedule(text)
        return text
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 1:
        raise UsageError(f"space {item!r}: expected batch sizes such as batch_size=32|64|128")
    return size
