"""JSON Schema of a record, from the dataclass that reads it."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Union

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(cls: type, *, title: str) -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of files that `core.records` reads as `cls`; classes become `$defs`."""
    classes: dict[str, object] = {}
    _define(cls, classes)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": f"#/$defs/{cls.__name__}",
        "$defs": dict(sorted(classes.items())),
    }


def _define(cls: type, classes: dict[str, object]) -> None:
    if cls.__name__ in classes:
        return
    table: dict[str, object] = {}
    classes[cls.__name__] = table
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    table |= {
        "type": "object",
        "description": (cls.__doc__ or "").split("\n")[0],
        "properties": {field.name: _kind(hints[field.name], classes) for field in fields},
        "required": [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ],
        "additionalProperties": False,
    }


def _kind(kind: object, classes: dict[str, object]) -> dict[str, object]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _define(kind, classes)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if typing.get_origin(kind) is not None:
        return _generic(kind, classes)
    if kind is type(None):
        return {"type": "null"}
    return {"type": _SCALARS[kind]}  # type: ignore[index]


def _generic(kind: object, classes: dict[str, object]) -> dict[str, object]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_kind(item, classes) for item in inner]}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _kind(inner[1], classes)}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _kind(inner[0], classes)}
    fixed = [_kind(item, classes) for item in inner]
    return {"type": "array", "prefixItems": fixed, "minItems": len(fixed), "maxItems": len(fixed)}
