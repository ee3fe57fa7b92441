"""NumPy's numbers as Python's, so that a checkpoint can be read without running anything in it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import numpy as np


def python_numbers(value: Any) -> Any:
    """A copy of settings in which each NumPy scalar, or array of one number, is Python's.

    ``torch.load(..., weights_only=True)`` refuses NumPy's types, and settings come to be such by
    ``np.cos`` in a schedule or a rate out of ``np.logspace``. Lists, tuples and dictionaries are
    copied; tensors and everything else are handed on.
    """
    kind = type(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return python_numbers(value[()])
    if isinstance(value, np.generic):
        # A long double's item() is a long double.
        return float(value) if isinstance(value, np.floating) else value.item()
    if kind in (list, tuple):
        return kind(map(python_numbers, value))
    if kind in (dict, OrderedDict, Counter):
        return kind({python_numbers(key): python_numbers(each) for key, each in value.items()})
    return value
