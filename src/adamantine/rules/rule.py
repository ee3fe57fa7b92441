"""What an update rule is, and how a backend makes it its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any, Literal

from adamantine.rules.hyperparameters import Hyperparameter

Settings = Mapping[str, Any]
"""One parameter group's hyperparameters: numbers, or torch tensors of one element."""

Shape = tuple[int, ...]

Axis = Literal["rows", "columns"]

Kind = Literal["count", "sum", "squares"]
"""What is added up, of what a function says of each element."""

Over = Literal["tensor", "parameters"]
"""Over what: each tensor by itself, or all parameters of the optimizer."""


class _Reduction:
    """What is added up, and made of the sums: both functions name what they have to be given."""

    of: Callable[..., Any]
    value: Callable[..., Any]

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """What `of` has to be given."""
        return tuple(inspect.signature(self.of).parameters)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """What `value` has to be given."""
        return tuple(inspect.signature(self.value).parameters)


@dataclass(frozen=True)
class Sums(_Reduction):
    """What a rule has to know of a whole tensor, or of all of them, first: sums over elements.

    A pass of its own over memory makes them, in float64 and always in the same order.

    Parameters
    ----------
    of
        A plain function of one element, written as an update is, with any of the update's
        arguments, which it names. It returns a tuple: what is summed up.
    names
        What the sums are called, in that order.
    kind
        ``"sum"``; ``"count"``: of how many elements it is above zero, which is exact in any order;
        ``"squares"``: the sum of its squares, each of which has a place in float64.
    scalar
        The update's scalar that the sums decide.
    value
        What it is, from sums, from ``elements`` (how many the tensor has, at least 1) and from
        other scalars, of which it names those it needs. In float64, and of many tensors at once:
        so it chooses by ``where``, as a rule does.
    over
        Over what they are. Over all parameters, `value` is an ordinary function: from the settings
        of all groups, and a list of each group's sums by their names, to the settings that all of
        them have from then on. One of these is `scalar`.
    """

    of: Callable[..., Any]
    names: tuple[str, ...]
    kind: Kind
    scalar: str
    value: Callable[..., Any]
    over: Over = "tensor"


@dataclass(frozen=True)
class Matrices:
    """What happens to whole matrices before a rule's update, which takes the result for a gradient.

    Parameters
    ----------
    before
        A rule for the matrices' elements, of which the first argument is no parameter but what it
        is to find: a direction, from the gradient and from its states.
    between
        What is made of all directions of one shape at once, by its name: that is no maths of one
        element, so it is with what runs it.
    states
        The names of what that keeps of each parameter; their shapes are the rule's to say.
    scaled
        ``(settings, rows, columns)`` to what they multiply the update's scalars by, by name.
    by_count
        Whether it depends on the number of steps, which the host has to know then.
    """

    before: Rule
    between: Literal["newton_schulz", "normuon", "eigenbasis"]
    scaled: Callable[[Settings, int, int], dict[str, float]]
    states: tuple[str, ...] = ()
    by_count: bool = False


@dataclass(frozen=True)
class Factor(_Reduction):
    """What a rule has to know of a matrix first: a number for each row, or for each column.

    It comes from sums along them, in float64 and always in the same order. Leading dimensions are a
    batch of matrices.

    Parameters
    ----------
    of
        A plain function of one element, with any of the update's arguments but the parameter. What
        it names may itself be a number for each row: then it is these that are summed up.
    kind
        As for :class:`Sums`.
    along
        Whose sums: a number for each of the ``"rows"`` or ``"columns"``.
    decides
        The state of that shape that they decide, or an argument of the update that follows the
        states. From then on it is what :attr:`of` and the update are given.
    value
        What it is, from the sum, which is called ``total``; from ``rows`` and ``columns``, how many
        the matrix has (at least 1); from states and earlier factors of the same shape; and from
        scalars.
    """

    of: Callable[..., Any]
    kind: Kind
    along: Axis
    decides: str
    value: Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """The maths of one update, over one element.

    Parameters
    ----------
    update
        A plain function ``(param, grad, *states, *scalars) -> (param, *states)`` in the paper's
        order, without literals (a literal would turn compiled arithmetic into float64).
    states
        Names of the per-parameter states, as in torch's ``state_dict``.
    sums
        Where a scalar depends on the whole tensor, or on all of them: how. It replaces what the
        family's `scalars` say.
    nonnegative
        The states that are never below zero, such as averages of squares.
    exact
        The states that must not be rounded: small differences between them and others decide.
    tiny
        The states whose numbers may be below those of float16: beside such a parameter they are
        float32.
    joined
        Where a parameter is kept in two tensors, of which its last state is the second: from both
        to the number that they are.
    shapes
        The states that are not of their parameter's shape: from that to theirs (:func:`per_row`).
        They are never rounded below their parameter's dtype.
    factors
        What is decided for rows and columns before all else, in this order.
    of_vectors
        What updates parameters of fewer than two dimensions, where this is for matrices.
    matrices
        Where the gradient is first made into another matrix: how. The first of the states are what
        that keeps; the update is not given them.
    counters
        What is counted for a parameter, where that is not what the family counts.
    """

    update: Callable[..., Any]
    states: tuple[str, ...]
    sums: Sums | None = None
    nonnegative: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    joined: Callable[..., Any] | None = None
    shapes: Mapping[str, Callable[[Shape], Shape]] = field(default_factory=dict, hash=False)
    factors: tuple[Factor, ...] = ()
    of_vectors: Rule | None = None
    matrices: Matrices | None = None
    counters: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The function's name; unique among the rules."""
        return self.update.__name__

    @property
    def tensors(self) -> tuple[str, ...]:
        """The arguments that differ from element to element."""
        return ("param", "grad", *self.states[self.kept_before :])

    @property
    def kept_before(self) -> int:
        """How many of the states are kept by what comes before the update."""
        if self.matrices is None:
            return 0
        return len(self.matrices.before.states) + len(self.matrices.states)

    @property
    def tensor_sums(self) -> Sums | None:
        """Its sums, where they are over each tensor."""
        return self.sums if self.sums is not None and self.sums.over == "tensor" else None

    @property
    def shared_sums(self) -> Sums | None:
        """Its sums, where they are over all parameters."""
        return self.sums if self.sums is not None and self.sums.over == "parameters" else None

    @cached_property
    def scalars(self) -> tuple[str, ...]:
        """The arguments after the states: numbers that are the same for all elements."""
        return tuple(inspect.signature(self.update).parameters)[len(self.tensors) :]

    def shape_of(self, state: str, shape: Shape) -> Shape:
        """The shape of a state of a parameter of this `shape`."""
        return self.shapes[state](shape) if state in self.shapes else tuple(shape)


def per_row(shape: Shape) -> Shape:
    """The shape of a state with a number for each row of a matrix; leading dimensions are a batch.

    Rows run along the last dimension.
    """
    return (*shape[:-1], 1)


def per_column(shape: Shape) -> Shape:
    """The same for columns."""
    return (*shape[:-2], 1, shape[-1])


@dataclass(frozen=True)
class Family:
    """An algorithm with its variants, hyperparameters and host scalars.

    Parameters
    ----------
    name
        As on the command line (``"adam"``).
    paper
        Where the formula comes from.
    hyperparameters
        What a parameter group holds, with ranges, in torch's order of checking.
    select
        The rule a group's settings ask for (AMSGrad keeps one state more than Adam). That of a
        parameter is :meth:`rule_of`.
    scalars
        ``(settings, step, *others)`` to every scalar of the family's rules by name, computed on the
        host in float64; ``step`` is the number of the coming step, from 1, and `others` are the
        other counters before it. All of them may be tensors, of a device that nobody waits for: so
        what depends on a counter is chosen by ``where``, as in a rule, and not by ``if``.
    counters
        Numbers that torch keeps beside a parameter's states, as 0-dimensional float32 tensors:
        ``step``, which the backends advance, and after it those whose new value ``scalars`` returns
        under their name. Where torch keeps none, ``scalars`` is given 1 for the step that creates
        the state and 2 for all later ones.
    initial
        What the states and counters start from, by name, where that is not zero.
    of_dtype
        Whether scalars follow from the parameter's dtype, too: the settings that they are given
        then have ``epsilon``, the distance from 1 to the next number.
    takes_complex
        Whether complex parameters are updated, as pairs of real ones.
    """

    name: str
    paper: str
    hyperparameters: tuple[Hyperparameter, ...]
    select: Callable[[Settings], Rule]
    scalars: Callable[..., dict[str, Any]]
    counters: tuple[str, ...] = ("step",)
    initial: Callable[[Settings], Mapping[str, Any]] = lambda _: {}
    of_dtype: bool = False
    takes_complex: bool = True

    def rule_of(self, settings: Settings, shape: Shape) -> Rule:
        """The rule for a parameter of this `shape` in a group with these settings."""
        rule = self.select(settings)
        is_matrix = len(shape) > 1
        return rule if is_matrix or rule.of_vectors is None else rule.of_vectors


def bind(
    function: Callable[..., Any],
    operations: Mapping[str, Any],
    compile: Callable[[Callable[..., Any]], Any] = lambda f: f,  # noqa: A002 - the word for it
) -> Any:
    """Return `function` with the names in `operations` replaced, and so in all it calls.

    The code object is shared, only the globals differ: every backend runs the same bytes that
    the author wrote. `compile` wraps each function on the way out (``numba.njit``).
    """
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in operations:
            scope[name] = operations[name]
        elif isinstance(scope.get(name), FunctionType):
            scope[name] = bind(scope[name], operations, compile)
    bound = FunctionType(function.__code__, scope, function.__name__)
    # Otherwise that of the code, which a rule shares with its cautious form: Numba links by this
    # name, and one of the two from the disk cache could be taken for the other of this process.
    bound.__qualname__ = function.__name__
    return compile(bound)
