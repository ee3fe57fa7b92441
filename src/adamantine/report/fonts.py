"""Letters of all scripts in pictures: names are the user's, and one font does not have them all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = "DejaVu Sans"
"""Comes with Matplotlib: the same picture everywhere, as long as it has all letters."""


def add_fonts(figure: Figure) -> None:
    """Let letters that :data:`FONT` does not have come from fonts of this machine."""
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    letters = "".join(sorted({letter for text in texts for letter in text.get_text()}))
    if letters.isascii():
        return
    families = [FONT, *families_with(letters)]
    for text in texts:
        text.set_fontfamily(families)


@lru_cache(maxsize=64)
def families_with(letters: str) -> tuple[str, ...]:
    """Fonts that have what :data:`FONT` has not of `letters`, those with most of it first."""
    from matplotlib import font_manager, get_data_path

    missing = {ord(letter) for letter in letters} - _has(font_manager.findfont(FONT))
    faces: dict[str, font_manager.FontEntry] = {}
    for entry in font_manager.fontManager.ttflist if missing else ():
        is_regular = (entry.style, entry.weight) == ("normal", 400)
        # Matplotlib's fonts for formulas have letters in places of their own.
        is_usual = entry.name == "STIXGeneral" or not entry.fname.startswith(get_data_path())
        if is_usual and (is_regular or entry.name not in faces):
            faces[entry.name] = entry
    found = {name: missing & _has(entry.fname) for name, entry in sorted(faces.items())}
    chosen = []
    while missing and found:
        best = max(found, key=lambda name: len(found[name] & missing))
        if not found[best] & missing:
            break
        chosen.append(best)
        missing -= found.pop(best)
    return tuple(chosen)


def _has(path: str) -> set[int]:
    """Code points of a font's letters."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return set(font.get_charmap()) if font.scalable else set()
    except (OSError, RuntimeError):  # a file that is gone, or no font that can be read
        return set()


@contextmanager
def without_a_word() -> Iterator[None]:
    """Letters that no font has are drawn as boxes; four lines of warnings would not help."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # a font without a bold face is drawn as it is
    try:
        with _warnings_ignored():
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ \(.*\) missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support \w+ natively")
        yield
