"""Settings as they are typed: ``betas=(0.9,0.99),state_dtype=int8``."""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import Any

from adamantine.errors import UsageError

_PAIRS = {")": "(", "]": "[", "}": "{"}
_WORDS = {"true": True, "false": False, "none": None}


def split(text: str, separator: str) -> list[str]:
    """The parts of `text` between separators that are outside of brackets and quotes, stripped.

    Raises
    ------
    UsageError
        A bracket or a quote is not closed.
    """
    parts, start, waiting, escaped = [], 0, "", False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif waiting[-1:] in ("'", '"'):
            escaped = character == "\\"
            waiting = waiting[:-1] if character == waiting[-1] else waiting
        elif character in "'\"([{":
            waiting += character
        elif character in _PAIRS:
            if waiting[-1:] != _PAIRS[character]:
                raise UsageError(f"{text!r}: nothing is open where {character!r} closes it")
            waiting = waiting[:-1]
        elif character == separator and not waiting:
            parts.append(text[start:index].strip())
            start = index + 1
    if waiting:
        raise UsageError(f"{text!r}: {waiting[-1]!r} is never closed")
    return [*parts, text[start:].strip()]


def value(text: str) -> Any:
    """The Python literal that `text` is; ``true``, ``none`` and bare words are meant as such.

    Lists become tuples. A value can be written as JSON: there are numbers, truth values, None,
    strings, and tuples and dictionaries of these.

    Raises
    ------
    UsageError
        It is none of these, or not finite.
    """
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of "1if 2 else 3", which is refused
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if re.fullmatch(r"[^\W\d][\w-]*", text):
            return text
        raise UsageError(
            f"{text!r} is no value; expected a number, true, false, none, a word, or a tuple such"
            " as (0.9,0.99)"
        ) from None
    return _plain(found, text)


def _plain(found: Any, text: str) -> Any:
    if isinstance(found, list | tuple):
        return tuple(_plain(element, text) for element in found)
    if isinstance(found, dict) and all(isinstance(key, str) for key in found):
        return {key: _plain(element, text) for key, element in found.items()}
    if isinstance(found, int | float):
        if not (abs(found) < 1e300 and math.isfinite(found)):
            raise UsageError(f"{text!r} is not a finite number")
    elif not isinstance(found, str | None):
        raise UsageError(f"{text!r} is a {type(found).__name__}, which no setting can be")
    return found


def typed(setting: Any) -> str:
    """A value as a person would type it; :func:`value` reads it back."""
    if setting is None or isinstance(setting, bool):
        return str(setting).lower()
    if isinstance(setting, str) and _is_word(setting):
        return setting
    return _python(setting)


def _python(setting: Any) -> str:
    """Without spaces; inside of brackets, words need their quotes."""
    if isinstance(setting, tuple):
        return f"({','.join(map(_python, setting))}{',' * (len(setting) == 1)})"
    return repr(setting)


def _is_word(text: str) -> bool:
    try:
        return bool(value(text) == text and isinstance(value(text), str))
    except UsageError:
        return False
