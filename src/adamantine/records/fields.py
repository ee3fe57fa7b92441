"""Dataclasses to JSON and back by their annotations."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from adamantine.records.reading import (
    as_object,
    finite,
    integer,
    number,
    required,
    wrong_type,
)

T = TypeVar("T")
R = TypeVar("R", bound="Record")


class Record:
    """What is a file of its own: a dataclass that :func:`to_json` and :func:`from_json` handle."""

    NAME: ClassVar[str] = "record"
    """What errors call it where no file is named."""

    def to_json(self) -> dict[str, Any]:
        """As its file and ``--json`` hold it; numbers that are not finite become null."""
        data: dict[str, Any] = to_json(self)
        return data

    @classmethod
    def from_json(cls: type[R], data: Any, source: str = "") -> R:
        """Read what :meth:`to_json` wrote; keys it does not know are ignored.

        Raises
        ------
        CheckpointError
            Naming `source` and the key that is missing or has the wrong type.
        """
        return from_json(cls, data, source or cls.NAME)


def to_json(record: Any) -> Any:
    """A dataclass as a JSON object with its fields' names, at any depth."""
    if is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_json(getattr(record, field.name)) for field in fields(record)}
    if isinstance(record, tuple | list):
        return [to_json(element) for element in record]
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    return finite(record)


def from_json(cls: type[T], data: Any, source: str) -> T:
    """The dataclass `cls` that :func:`to_json` wrote; keys it does not know are ignored.

    A field may be a number, a string, a truth value, one of several literals, any JSON
    (``Mapping[str, Any]``, ``Any``), another dataclass or a mapping to one, a tuple of one of
    these, or None besides.

    Raises
    ------
    CheckpointError
        Naming `source` and the key that is missing or has the wrong type.
    """
    data = as_object(data, source)
    hints = get_type_hints(cls)
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if field.name in data or not optional:
            values[field.name] = _value(hints[field.name], data, field.name, source)
    return cls(**values)


def _value(hint: Any, data: Mapping[str, Any], key: str, source: str) -> Any:
    value = required(data, key, source)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _value(hint, data, key, source)
    if origin is tuple:
        if not isinstance(value, list):
            raise wrong_type(source, key, "a list", value)
        places = {f"{key}[{index}]": element for index, element in enumerate(value)}
        return tuple(_value(arguments[0], places, place, source) for place in places)
    if origin is Mapping and is_dataclass(arguments[1]):
        values, where = as_object(value, f"{source}: {key}"), f"{source}: {key}"
        return {name: _value(arguments[1], values, name, where) for name in values}
    if origin is Literal:
        if value not in arguments:
            raise wrong_type(source, key, f"one of {', '.join(map(repr, arguments))}", value)
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, f"{source}: {key}")
    return _plain(hint, data, key, source)


def _plain(hint: Any, data: Mapping[str, Any], key: str, source: str) -> Any:
    if hint is float:
        return number(data, key, source)
    if hint is int:
        return integer(data, key, source)
    for kind, name in ((bool, "true or false"), (str, "a string")):
        if hint is kind and not isinstance(data[key], kind):
            raise wrong_type(source, key, name, data[key])
    return as_object(data[key], f"{source}: {key}") if get_origin(hint) is not None else data[key]
