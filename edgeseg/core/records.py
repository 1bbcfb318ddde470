"""Frozen dataclasses to and from plain JSON/TOML values, strictly.

An unknown key, a missing key or a value of the wrong type raises `RecipeError` with its place
(`spec.preprocess.mean[2]`), so that a misspelt option is never silently dropped. The dataclass declares further rules,
and `decode_record` checks them:

- `field(metadata=bounds(low=0, high=1))`: the range of a number, of every number in a list or table, or of a length;
- `field(metadata=renamed("picture"))`: names of the field in older files, which can still be read;
- `REMOVED: ClassVar[dict[str, str]]`: keys of older files that are refused, each with what to do instead;
- `__post_init__` raising `ValueError`: rules that concern several fields.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from pathlib import PurePath
from typing import TypeVar, Union

from edgeseg.core.parsing import shown
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import RecipeError, printable

_T = TypeVar("_T")

FORMERLY = "formerly"
BOUNDS = "bounds"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    low: float | None
    high: float | None
    above: float | None
    items: tuple[int, int | None] | None

    def allows(self, number: float) -> bool:
        return not (
            (self.low is not None and number < self.low)
            or (self.high is not None and number > self.high)
            or (self.above is not None and number <= self.above)
        )

    def words(self) -> str:
        if self.low is not None:
            return f"{self.low:g} or more" if self.high is None else f"{self.low:g} to {self.high:g}"
        least = None if self.above is None else f"more than {self.above:g}"
        most = None if self.high is None else f"at most {self.high:g}"
        return " and ".join(part for part in (least, most) if part)


def bounds(
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    items: tuple[int, int | None] | None = None,
) -> dict[str, object]:
    """Return the metadata of a dataclass field whose numbers lie in a range, both ends included (`above` excluded).

    For a tuple or a dict the range applies to every number in it, and `items` gives the smallest and largest length.
    To combine it with other metadata: `field(metadata={**renamed("old"), **bounds(low=0)})`.
    """
    return {BOUNDS: _Bounds(low=low, high=high, above=above, items=items)}


def renamed(*formerly: str) -> dict[str, tuple[str, ...]]:
    """Return the metadata of a dataclass field that has one of the names `formerly` in older files."""
    return {FORMERLY: formerly}


def known_keys(cls: type) -> tuple[str, ...]:
    """Return the keys that a table of `cls` may have: the field names, then their former names."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    return (*fields, *_former_names(fields))


def current_key(cls: type, key: str) -> str:
    """Return a dotted key (`run.batch`) with former names replaced by the current names in `cls` and nested records.

    Unknown parts are left unchanged.
    """
    head, dot, rest = key.partition(".")
    names = _former_names({field.name: field for field in dataclasses.fields(cls)})
    name = names.get(head, head)
    inside = _record_in(_hints(cls).get(name)) if dot else None
    return f"{name}{dot}{current_key(inside, rest) if inside else rest}"


def _record_in(kind: object) -> type | None:
    """Return the dataclass in an annotation: itself, or one option of a union."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((item for item in options if isinstance(item, type) and dataclasses.is_dataclass(item)), None)


def _former_names(fields: dict[str, dataclasses.Field[object]]) -> dict[str, str]:
    """Return the current name of each former name."""
    return {old: name for name, field in fields.items() for old in field.metadata.get(FORMERLY, ())}


def encode_record(value: object) -> object:
    """Return `value` (a dataclass, a tuple, a mapping, a scalar) as JSON-ready dicts, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode_record(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode_record(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode_record(item) for key, item in value.items()}
    return str(value) if isinstance(value, PurePath) else value


def decode_record(cls: type[_T], data: object, *, where: str) -> _T:
    """Return a `cls` from plain values; `where` names the file or table for the error messages.

    Raises:
        RecipeError: an unknown or missing key, or a value of the wrong type, with its place.
    """
    return typing.cast("_T", _decode(cls, data, where))


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
    removed: dict[str, str] = getattr(cls, "REMOVED", {})
    for key in data:
        if key in removed:
            raise RecipeError(f'{where}: the key "{key}" is no longer read: {removed[key]}')
        if key not in fields:
            name, known = shown(key).strip("'\""), ", ".join(fields)
            raise RecipeError(f'{where}: unknown key "{name}".{suggestion(name, fields)} Known: {known}.')
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
            limits = field.metadata.get(BOUNDS)
            if isinstance(limits, _Bounds):
                _check_bounds(values[name], limits, f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecipeError(f'{where}: the key "{name}" is missing.')
    try:
        return cls(**values)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise RecipeError(f"{where}: {error}") from error


def _check_bounds(value: object, limits: _Bounds, where: str) -> None:
    if isinstance(value, (tuple, dict)):
        _check_count(len(value), limits, where)
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            if not dataclasses.is_dataclass(item):
                _check_bounds(
                    item, limits, f"{where}.{printable(key)}" if isinstance(value, dict) else f"{where}[{key}]"
                )
    elif isinstance(value, str):
        _check_count(len(value), limits, where)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not limits.allows(value):
        raise RecipeError(f"{where}: {shown(value)} is out of range; it must be {limits.words()}.")


def _check_count(count: int, limits: _Bounds, where: str) -> None:
    if limits.items is None:
        return
    least, most = limits.items
    if count < least or (most is not None and count > most):
        needed = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
        raise RecipeError(f"{where}: has {count} entries; it must have {needed}.")


def _with_todays_names(
    data: dict[str, object], fields: dict[str, dataclasses.Field[object]], where: str
) -> dict[str, object]:
    names = _former_names(fields)
    for name in fields:
        given = [key for key in data if names.get(str(key), key) == name]
        if len(given) > 1:
            raise RecipeError(f'{where}: "{given[0]}" and "{given[1]}" are names of one setting; give only "{name}".')
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
    # True == 1 in Python, so the type must match too.
    if any(data == option and type(data) is type(option) for option in options):
        return data
    names = [str(option) for option in options]
    hint = suggestion(data, names) if isinstance(data, str) else ""
    raise RecipeError(f"{where}: expected one of {', '.join(names)}; got {shown(data)}.{hint}")


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
        try:
            return float(data)
        except OverflowError:
            raise _wrong(where, "a number", data) from None
    if kind in (bool, int, float, str) and type(data) is kind:
        return data
    name = getattr(kind, "__name__", str(kind))
    raise _wrong(
        where,
        {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false"}.get(name, name),
        data,
    )


def _wrong(where: str, expected: str, data: object) -> RecipeError:
    return RecipeError(f"{where}: expected {expected}; got {shown(data)}.")
