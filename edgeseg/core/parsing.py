"""TOML and JSON text to plain values; every fault of broken or hostile text raises the same kind of error."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, NoReturn

from edgeseg.errors import RecipeError, printable, unprintable

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_DEPTH = 64
"""Deeper nesting is refused as an attack: our deepest schema has six levels."""
LARGEST_INTEGER = 2**63
"""TOML's own limit; it also keeps every number within the range of a float."""
_SHOWN = 60
"""Characters of a value that an error message repeats."""
_TEXT = "\n\t"
"""Control characters allowed in text: notices have several lines."""


class _BadValue(ValueError):
    """A value that JSON or TOML allows but edgeseg never accepts."""


def parse_toml(text: str, *, where: str) -> dict[str, object]:
    """Return a TOML document's plain values; `where` names the file. Raises `RecipeError` for every fault."""
    return _parsed(lambda: tomllib.loads(text), where, "TOML")  # type: ignore[return-value]


def parse_json(text: str, *, where: str) -> object:
    """Return a JSON document's plain values; `where` names the file. Raises `RecipeError` for every fault.

    Stricter than `json.loads`: duplicate keys, NaN and Infinity are refused, as RFC 8259 advises.
    """
    return _parsed(
        lambda: json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant, parse_int=_integer),
        where,
        "JSON",
    )


def shown(value: object) -> str:
    """Return a value for an error message: on one line, printable, shortened if long.

    >>> shown("road"), shown([1, 2])
    ("'road'", '[1, 2]')
    """
    try:
        text = printable(repr(value))
    except (ValueError, RecursionError):  # an integer with more digits than Python prints, or deep nesting
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _parsed(parse: Callable[[], object], where: str, kind: str) -> object:
    try:
        value = parse()
        _check(value)
    except RecursionError:
        raise RecipeError(f"{where}: not valid {kind}: nested more than {MOST_DEPTH} levels deep.") from None
    except _BadValue as error:
        raise RecipeError(f"{where}: {error}") from None
    except ValueError as error:  # both libraries' own errors, and Python's for numbers of thousands of digits
        raise RecipeError(f"{where}: not valid {kind}: {_cut(str(error))}.") from None
    except (TypeError, LookupError, ArithmeticError, MemoryError) as error:
        raise RecipeError(f"{where}: not valid {kind}: {type(error).__name__} {_cut(str(error))}.") from None
    return value


def _cut(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 200 else line[:197] + "..."


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _BadValue(f"the key {shown(key)} is given twice.")
            seen.add(key)
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise _BadValue(f"{name} is not a number that JSON has.")


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise _BadValue(f"the integer {shown(digits)} has {len(digits)} digits; 64 bits are the limit.")
    return int(digits)


def _check(document: object) -> None:
    """Raise `_BadValue` for values that no schema accepts; not recursive, since the depth itself is checked."""
    pending: list[tuple[str, object, int]] = [("", document, 0)]
    while pending:
        where, value, depth = pending.pop()
        if depth > MOST_DEPTH:
            raise _BadValue(f"nested more than {MOST_DEPTH} levels deep.")
        if isinstance(value, dict):
            for key, item in value.items():
                _check_text(f"the key {shown(key)}", str(key))
                pending.append((f"{where}.{key}" if where else str(key), item, depth + 1))
        elif isinstance(value, list):
            pending.extend((f"{where}[{index}]", item, depth + 1) for index, item in enumerate(value))
        elif isinstance(value, str):
            _check_text(where or "the text", value)
        elif isinstance(value, int) and not -LARGEST_INTEGER <= value < LARGEST_INTEGER:
            raise _BadValue(f"{_cut(where)}: the integer does not fit into 64 bits.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise _BadValue(f"{_cut(where)}: {value} is not a finite number.")


def _check_text(where: str, text: str) -> None:
    if text.isprintable():
        return
    bad = next((letter for letter in text if letter not in _TEXT and unprintable(letter)), None)
    if bad is not None:
        raise _BadValue(f"{_cut(where)}: holds the character U+{ord(bad):04X}, which no text in this file may.")
