"""Frozen dataclasses to and from plain JSON/TOML values, strictly.

A key that the class does not have, a missing key or a value of the wrong type raises `RecipeError` with the place of
the fault (`spec.preprocess.mean[2]`), so that a misspelt option is never silently dropped. A field that had another
name in files written before says so with `renamed`, and is read under both.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from pathlib import PurePath
from typing import TypeVar, Union

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import RecipeError

T = TypeVar("T")

FORMERLY = "formerly"


def renamed(formerly: str) -> dict[str, str]:
    """Return the metadata of a dataclass field that older files call `formerly`."""
    return {FORMERLY: formerly}


def encode(value: object) -> object:
    """Return `value` (a dataclass, a tuple, a mapping, a scalar) as JSON-ready dicts, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    return str(value) if isinstance(value, PurePath) else value


def decode(cls: type[T], data: object, *, where: str) -> T:
    """Return a `cls` from plain values; `where` names the file or table for the error messages.

    Raises:
        RecipeError: an unknown or missing key, or a value of another type, with its place.
    """
    return typing.cast("T", _decode(cls, data, where))


@cache
def _hints(cls: type) -> dict[str, object]:
    return dict(typing.get_type_hints(cls))


def _decode(kind: object, data: object, where: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_record(kind, data, where)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is typing.Literal:
        return _decode_literal(typing.get_args(kind), data, where)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), data, where)
    if origin is dict:
        return _decode_dict(typing.get_args(kind), data, where)
    return _decode_scalar(kind, data, where)


def _decode_record(cls: type, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise _wrong(where, "a table", data)
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    data = _with_todays_names(data, fields, where)
    for key in data:
        if key not in fields:
            known = ", ".join(fields)
            raise RecipeError(f'{where}: unknown key "{key}".{suggestion(str(key), fields)} Known: {known}.')
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecipeError(f'{where}: the key "{name}" is missing.')
    try:
        return cls(**values)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _with_todays_names(
    data: dict[str, object], fields: dict[str, dataclasses.Field[object]], where: str
) -> dict[str, object]:
    names = {field.metadata[FORMERLY]: name for name, field in fields.items() if FORMERLY in field.metadata}
    for old, new in names.items():
        if old in data and new in data:
            raise RecipeError(f'{where}: "{old}" is the former name of "{new}"; give one of them.')
    return {names.get(str(key), str(key)): value for key, value in data.items()}


def _decode_union(options: tuple[object, ...], data: object, where: str) -> object:
    if data is None and type(None) in options:
        return None
    fault: RecipeError | None = None
    for option in options:
        if option is type(None):
            continue
        try:
            return _decode(option, data, where)
        except RecipeError as error:
            fault = error
    assert fault is not None
    raise fault


def _decode_literal(options: tuple[object, ...], data: object, where: str) -> object:
    if data in options:
        return data
    names = [str(option) for option in options]
    hint = suggestion(str(data), names)
    raise RecipeError(f"{where}: expected one of {', '.join(names)}; got {data!r}.{hint}")


def _decode_tuple(kinds: tuple[object, ...], data: object, where: str) -> tuple[object, ...]:
    if not isinstance(data, (list, tuple)):
        raise _wrong(where, "a list", data)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(data) != len(kinds):
        raise _wrong(where, f"a list of {len(kinds)}", data)
    pairs = zip(kinds, data, strict=True)
    return tuple(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


def _decode_dict(kinds: tuple[object, ...], data: object, where: str) -> dict[str, object]:
    if not isinstance(data, dict):
        raise _wrong(where, "a table", data)
    return {str(key): _decode(kinds[1], item, f"{where}.{key}") for key, item in data.items()}


def _decode_scalar(kind: object, data: object, where: str) -> object:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind in (bool, int, float, str) and type(data) is kind:
        return data
    name = getattr(kind, "__name__", str(kind))
    raise _wrong(
        where,
        {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false"}.get(name, name),
        data,
    )


def _wrong(where: str, expected: str, data: object) -> RecipeError:
    shown = repr(data)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return RecipeError(f"{where}: expected {expected}; got {shown}.")
