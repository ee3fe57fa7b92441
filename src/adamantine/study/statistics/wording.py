"""Numbers and names as sentences have them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adamantine.records import Interval


@dataclass(frozen=True)
class Scale:
    """How a quantity is printed.

    Parameters
    ----------
    factor
        What its numbers are multiplied by first: 100 for per cent.
    suffix
        After a value.
    gap
        After a difference.
    digits
        After the point, at least.
    significant
        Digits of a number without an interval.
    exact
        Digits of an interval's half width that are shown.
    """

    factor: float = 1.0
    suffix: str = ""
    gap: str = ""
    digits: int = 0
    significant: int = 4
    exact: int = 1

    def value(self, interval: Interval, unit: str = "") -> str:
        """``97.8% [97.6, 97.9]``, as exact as the interval is short; one run has no interval."""
        places = self._places(interval, self.exact)
        text = f"{_rounded(interval.value * self.factor, places)}{self.suffix}{unit}"
        return text + self._bounds(interval, places)

    def difference(self, interval: Interval) -> str:
        """``0.21 points [0.08, 0.34]``; no bound is rounded to zero that is not zero."""
        places = self._places(interval, 2)
        bounds = [b * self.factor for b in (interval.low, interval.high) if b and math.isfinite(b)]
        while places < 12 and any(round(bound, places) == 0 for bound in bounds):
            places += 1
        text = f"{_rounded(interval.value * self.factor, places)}{self.gap}"
        return text + self._bounds(interval, places)

    def amount(self, size: float) -> str:
        """A difference without an interval, in two digits: ``0.21 points``."""
        return f"{_significant(size * self.factor)}{self.gap}"

    def _bounds(self, interval: Interval, places: int) -> str:
        if math.isnan(interval.low):
            return ""
        low, high = (_rounded(b * self.factor, places) for b in (interval.low, interval.high))
        return f" [{low}, {high}]"

    def _places(self, interval: Interval, digits: int) -> int:
        """How many digits after the point show so many of the interval's half width."""
        half = (interval.high - interval.low) / 2 * self.factor
        if not 0 < half < math.inf:  # no interval, one without width, or one without end
            size = abs(interval.value * self.factor)
            size = size if 0 < size < math.inf else 1
            return max(self.digits, self.significant - 1 - math.floor(math.log10(size)))
        return max(self.digits, digits - 1 - math.floor(math.log10(half)))


ACCURACY = Scale(factor=100, suffix="%", gap=" points", digits=1)
EPOCHS = Scale(gap=" epochs", digits=1, significant=2)
DECADES = Scale(gap=" decades", digits=1, significant=2)


def scale_of(metric: str) -> Scale:
    """Accuracy is a fraction, printed in per cent and points; other metrics as they are."""
    return ACCURACY if metric == "accuracy" else Scale(exact=2)


def listed(names: Sequence[str], word: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *some, last = names
    return f"{', '.join(some)} {word} {last}" if some else last


def counted(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``, ``1,200 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lr_text(lr: float) -> str:
    """A learning rate as it is typed: ``0.001``, ``3e-05``."""
    return f"{lr:.3g}"


def epochs_text(epochs: float) -> str:
    """``1 epoch``, ``5 epochs``, ``0.5 epochs``."""
    return f"{epochs:g} epoch{'' if epochs == 1 else 's'}"


def sentence(text: str) -> str:
    """With a full stop; names at its beginning stay as they are typed."""
    return f"{text}."


def flipped(interval: Interval) -> Interval:
    """The interval of the opposite difference."""
    return Interval(-interval.value, -interval.high, -interval.low)


def _significant(value: float) -> str:
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return _rounded(value, max(0, 1 - math.floor(math.log10(abs(value)))))


def _rounded(value: float, places: int) -> str:
    if places > 6 or abs(value) >= 1e6:
        return f"{value:.4g}"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text
