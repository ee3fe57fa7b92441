"""What ``torch.compile`` calls instead of tracing it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._compile import _disable_dynamo

P = ParamSpec("P")
R = TypeVar("R")


def outside_the_graph(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, around which Dynamo breaks its graph.

    Dynamo reads ``is_dynamo_compiling()`` as true. Its own decorator alone would import it, which
    takes a second, for the sake of those who compile nothing.
    """

    @_disable_dynamo
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    @wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_dynamo_compiling():
            return called(*args, **kwargs)
        return function(*args, **kwargs)

    return traced
