"""The lists backend: a rule on many tensors at once, by ``torch._foreach_*``.

One call does an operation on all tensors of a list; on an accelerator that is one launch or a few,
where the reference needs one for each tensor. Any device and dtype, but everything in a list is of
one kind: the rule, its scalars, the device and the dtypes are the same.

The rule is called with operands that record what is done to them, and what it returns is computed
afterwards. So what nobody needs is not computed, and it is known which tensors nobody needs any
more, and may be written to: the parameters and states themselves, when they are used for the last
time. A number that an operand is multiplied by waits until it can be part of a call: ``x + s * y``
is one ``add(alpha=s)``, ``x + s * y * z`` one ``addcmul``, ``x + s * (y - x)`` one ``lerp``, and a
factor of one is nothing.

What has no ``_foreach_``, such as ``where`` and the bits of numbers, is done tensor by tensor.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adamantine.backends.reference import HALF, OPERATIONS, decide, decide_factor, summed, wide
from adamantine.rules import Factor, Rule, Sums, bind, per_column, per_row

Tensors = list[Tensor]

EXACT_LERP = 0.5
"""From this weight on, torch's lerp starts from the other end: not the rule's formula, and another
number where one of the two is infinite."""


AXES: Mapping[Any, frozenset[str]] = {
    per_row: frozenset(["rows"]),
    per_column: frozenset(["columns"]),
}
"""Along which dimensions states of another shape differ."""

BOTH = frozenset(["rows", "columns"])


class OfLists(NamedTuple):
    """An operation that is a function of whole lists of tensors."""

    function: Callable[..., Tensors]


Operation = str | Callable[..., Tensor] | OfLists


class Node:
    """A list of tensors: given, or what an operation makes of others.

    Parameters
    ----------
    known
        All nodes of an update that are made of others, so that none is made twice.
    operation
        The name of a ``_foreach_``, a function of single tensors, or :class:`OfLists`; functions
        return new tensors.
    arguments
        Nodes and numbers. What is written in place is the first.
    keywords
        More of what is no tensor.

    Attributes
    ----------
    value
        The tensors, once there are some, and until nobody needs them any more.
    writable
        Whether they may be written to when nobody needs them any more.
    uses
        How often they will still be read.
    axes
        Along which dimensions they differ: a number for each row is broadcast, and what is made of
        it and of more has no room there.
    """

    __slots__ = ("arguments", "axes", "keywords", "known", "operation", "uses", "value", "writable")

    def __init__(
        self,
        known: dict[Any, Node],
        operation: Operation = "given",
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        self.known, self.operation = known, operation
        self.arguments, self.keywords = arguments, keywords or {}
        self.value: Any = None
        self.writable, self.uses = True, 0
        operands = self.operands()
        self.axes: frozenset[str] = BOTH
        if operands:
            self.axes = frozenset().union(*(operand.axes for operand in operands))

    def then(self, operation: Operation, *others: Any, **keywords: Any) -> Node:
        """What an operation makes of this, and of other arguments."""
        key = (operation, self, *others, *keywords.items())
        node = self.known.get(key)
        if node is None:
            node = self.known[key] = Node(self.known, operation, (self, *others), keywords)
        return node

    def operands(self) -> list[Node]:
        """Those of the arguments that are tensors."""
        return [argument for argument in self.arguments if isinstance(argument, Node)]

    def is_difference_from(self, other: Node) -> bool:
        """Whether this is something minus `other`."""
        return self.operation == "add" and (
            (self.arguments[1], self.keywords.get("alpha")) == (other, -1)
        )

    def is_product(self) -> bool:
        """Whether this is a product or quotient of two, which ``addcmul`` and ``addcdiv`` add."""
        return self.operation in ("mul", "div") and len(self.operands()) == 2


class Operand:
    """What a rule is given for its tensors: a number times the tensors of a node."""

    __slots__ = ("node", "scale")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Node, scale: float = 1) -> None:
        self.node, self.scale = node, scale

    def computed(self) -> Node:
        """The node with the number multiplied in."""
        return self.node if self.scale == 1 else self.node.then("mul", self.scale)

    def __neg__(self) -> Operand:
        return Operand(self.node, -self.scale)

    def __mul__(self, other: Any) -> Operand:
        if isinstance(other, Operand):
            return Operand(self.node.then("mul", other.computed()), self.scale)
        return Operand(self.node, self.scale * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Operand:
        return Operand(self.node.then("div", other.computed()), self.scale)

    def __rtruediv__(self, other: float) -> Operand:
        return Operand(self.computed().then("reciprocal"), other)

    def __add__(self, other: Any) -> Operand:
        if not isinstance(other, Operand):
            return Operand(self.computed().then("add", other))
        x, y = self, other
        if x.scale == 1 and abs(y.scale) < EXACT_LERP and y.node.is_difference_from(x.node):
            return Operand(x.node.then("lerp", y.node.arguments[0], weight=y.scale))
        if x.node.is_product() and not y.node.is_product():
            x, y = y, x
        start = x.computed()
        if y.node.is_product():
            return Operand(start.then(f"addc{y.node.operation}", *y.node.arguments, value=y.scale))
        keywords = {} if y.scale == 1 else {"alpha": y.scale}
        return Operand(start.then("add", y.node, **keywords))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Operand:
        return self.__add__(-other)

    def __rsub__(self, other: float) -> Operand:
        return (-self).__add__(other)


def _each(function: Callable[..., Any]) -> Callable[..., Operand]:
    """A function of single tensors, which returns new ones, as one of lists."""

    def on_lists(first: Operand, *others: Any) -> Operand:
        others = tuple(o.computed() if isinstance(o, Operand) else o for o in others)
        return Operand(first.computed().then(function, *others))

    return on_lists


# The bits of numbers (`codecs.bits24`), and what masters compare.
for _name in ("and", "or", "xor", "lshift", "rshift", "lt", "le", "gt", "ge", "eq"):
    _dunder = f"__{_name}__"
    setattr(Operand, _dunder, _each(getattr(operator, _dunder)))


def _signum(x: Operand) -> Operand:
    # Torch's sign turns NaN into 0, and its maximum keeps it.
    node = x.computed()
    return Operand(node.then("sign").then("maximum", node.then("clamp_max", -1)))


def _maximum(x: Operand, y: Any) -> Operand:
    if isinstance(y, Operand):
        return Operand(x.computed().then("maximum", y.computed()))
    return Operand(x.computed().then("clamp_min", y))


def _choose(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition.bool(), x, y)


def _where(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, Operand):
        return _each(_choose)(condition, x, y)
    return x if condition else y


_OPERATIONS = {name: _each(f) for name, f in OPERATIONS.items()} | {
    "sqrt": lambda x: Operand(x.computed().then("sqrt")),
    "absolute": lambda x: Operand(x.computed().then("abs")),
    "signum": _signum,
    "maximum": _maximum,
    "where": _where,
}


@cache
def _bound(function: Callable[..., Any]) -> Any:
    return bind(function, _OPERATIONS)


_COMMUTATIVE = ("mul", "maximum")
_NEVER_IN_PLACE = ("norm",)


def _compute(results: list[Node]) -> list[Tensors]:
    """The tensors of `results`, which nothing writes to any more."""
    counted: set[Node] = set()
    for node in results:
        _count(node, counted)
    return [_value(node) for node in results]


def _count(node: Node, counted: set[Node]) -> None:
    """Note a use of a node, and of what it is made of."""
    node.uses += 1
    if node not in counted:
        counted.add(node)
        for operand in node.operands():
            _count(operand, counted)


def _value(node: Node) -> Any:
    if node.value is None:
        operands = node.operands()
        for operand in operands:
            _value(operand)
        for operand in operands:
            operand.uses -= 1
        if isinstance(node.operation, str):
            node.value = _by_list(node, node.operation)
        elif isinstance(node.operation, OfLists):
            node.value = node.operation.function(*(operand.value for operand in operands))
        else:
            node.value = _one_by_one(node, node.operation)
        for operand in operands:
            if operand.uses == 0:
                operand.value = None
    return node.value


def _one_by_one(node: Node, function: Callable[..., Tensor]) -> Tensors:
    count = len(node.arguments[0].value)
    columns = [a.value if isinstance(a, Node) else [a] * count for a in node.arguments]
    return list(map(function, *columns))


def _by_list(node: Node, operation: str) -> Any:
    arguments, keywords = node.arguments, node.keywords
    is_commutative = operation in _COMMUTATIVE or (operation == "add" and not keywords)
    free = partial(_is_free, axes=node.axes)
    if is_commutative and not free(arguments[0]) and free(arguments[-1]):
        arguments = arguments[::-1]
    values = [a.value if isinstance(a, Node) else a for a in arguments]
    if free(arguments[0]) and operation not in _NEVER_IN_PLACE:
        getattr(torch, f"_foreach_{operation}_")(*values, **keywords)
        return values[0]
    return getattr(torch, f"_foreach_{operation}")(*values, **keywords)


def _is_free(argument: Any, axes: frozenset[str]) -> bool:
    """Whether the tensors of a node may be written to, and have room for what has these axes."""
    is_node = isinstance(argument, Node)
    return is_node and argument.writable and argument.uses == 0 and argument.axes == axes


@torch.no_grad()
def update(
    rule: Rule,
    params: Tensors,
    grads: Tensors,
    states: list[Tensors],
    scalars: Mapping[str, Any],
) -> None:
    """Run `rule` once, in place, on parameters that have all of it in common.

    Parameters
    ----------
    rule
        The update.
    params, grads
        ``T`` parameters of one device and dtype, no two of which share memory, and gradients that
        share none with them.
    states
        ``T`` tensors for each of the rule's states, of which the same is true.
    scalars
        The rule's scalars by name: numbers. What sums over each tensor decide is found here where
        it is missing.
    """
    columns = [_reals(column) for column in (params, grads, *states)]
    dtype = _computed_in(columns)
    known: dict[Any, Node] = {}
    starts = []
    for name, column in zip(rule.tensors, columns, strict=True):
        start = Node(known)
        if name in rule.shapes:
            start.axes = AXES[rule.shapes[name]]
        start.value = _in_dtype(column, dtype)
        # A copy in another dtype is nobody's tensor, and gradients are others'.
        start.writable = column is not columns[1] or start.value is not column
        starts.append(start)
    given = {**scalars, **dict(zip(rule.tensors, map(Operand, starts), strict=True))}
    if scalars["sign"] != 1:
        # What every rule begins with. Here and at once, so that what follows is the same whatever
        # gradients are scaled by, and so are its bits where that is a power of two.
        given |= {"grad": Operand(starts[1].then("mul", scalars["sign"])), "sign": 1.0}
    for factor in rule.factors:
        given[factor.decides] = _factor(factor, given, columns[0], dtype)
    own = rule.tensor_sums
    if own is not None and own.scalar not in scalars:
        given[own.scalar] = _decided(own, given, columns[0], dtype)
    results = _bound(rule.update)(*(given[name] for name in (*rule.tensors, *rule.scalars)))
    _write(
        [columns[0], *columns[2:]],
        [starts[0], *starts[2:]],
        [result.computed() for result in results],
    )
    known.clear()  # which knows the nodes, and they know it


def _write(targets: list[Tensors], starts: list[Node], results: list[Node]) -> None:
    """Compute what parameters and states are to be, and leave it in them."""
    found = _compute(results)
    for index, value in enumerate(found):
        if any(value is target for target in targets[:index] + targets[index + 1 :]):
            found[index] = [t.clone() for t in value]  # before another result is written there
    for target, start, result, value in zip(targets, starts, results, found, strict=True):
        if value is not target and result is not start:
            torch._foreach_copy_(target, value)


def _reals(tensors: Tensors) -> Tensors:
    """Complex numbers as pairs of real ones."""
    if not tensors[0].is_complex():
        return tensors
    return [torch.view_as_real(t.resolve_conj()) for t in tensors]


def _computed_in(columns: list[Tensors]) -> torch.dtype:
    """The widest dtype there is; as in kernels, sixteen bits are not computed with."""
    dtypes = [column[0].dtype for column in columns if column[0].is_floating_point()]
    return reduce(torch.promote_types, (torch.float32 if d in HALF else d for d in dtypes))


def _in_dtype(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    if tensors[0].dtype == dtype or not tensors[0].is_floating_point():
        return tensors
    copies = [torch.empty_like(t, dtype=dtype) for t in tensors]
    torch._foreach_copy_(copies, tensors)
    return copies


def _factor(
    factor: Factor, given: Mapping[str, Any], params: Tensors, dtype: torch.dtype
) -> Operand:
    """What a factor is, of each tensor of a list; nobody waits for a device."""
    term = _bound(factor.of)(*(given[name] for name in factor.arguments)).computed()
    vectors = [name for name in factor.needed if isinstance(given.get(name), Operand)]
    numbers = {name: given[name] for name in factor.needed if name in given.keys() - vectors}
    shapes = [param.shape for param in params]

    def from_terms(terms: Tensors, *columns: Tensors) -> Tensors:
        found = []
        for term, shape, *values in zip(terms, shapes, *columns, strict=True):
            known = {**numbers, **dict(zip(vectors, values, strict=True))}
            found.append(decide_factor(factor, term, shape, known).to(dtype))
        return found

    decided = term.then(OfLists(from_terms), *(given[name].computed() for name in vectors))
    decided.axes = term.axes & {factor.along}
    return Operand(decided)


def _decided(sums: Sums, given: Mapping[str, Any], params: Tensors, dtype: torch.dtype) -> Operand:
    """The scalar that depends on a whole tensor: for each of them, a tensor of one number.

    Nobody waits for a device.
    """
    terms = [term.computed() for term in _bound(sums.of)(*(given[name] for name in sums.arguments))]
    totals = [_total(term, sums, params[0].device) for term in terms]
    scalars = {name: given[name] for name in sums.needed if name in given}
    elements = [param.numel() for param in params]

    def from_totals(*totals: Tensors) -> Tensors:
        found = [torch.stack(of_tensor) for of_tensor in zip(*totals, strict=True)]
        return list(decide(sums, found, elements, scalars).to(dtype).unbind())

    decided = totals[0].then(OfLists(from_totals), *totals[1:])
    decided.writable, decided.axes = False, frozenset()  # one number, whatever it was made of
    return Operand(decided)


def _total(term: Node, sums: Sums, device: torch.device) -> Node:
    """Sums over each tensor of a list; in a fixed order, as one launch of a kernel is."""
    if sums.kind == "sum" or device.type == "cpu":
        return term.then(partial(summed, kind=sums.kind))
    if sums.kind == "count":  # exact, as sums of ones are
        return term.then("sign").then("clamp_min", 0).then("norm", 1, dtype=wide(device))
    norms = term.then("norm", 2, dtype=wide(device))
    return norms.then("mul", norms)
