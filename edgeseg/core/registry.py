"""Plug-ins by entry point, edgeseg's own included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from edgeseg.core.suggestions import unknown
from edgeseg.errors import MissingDependency

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded plug-in, or the reason why it could not be loaded."""

    name: str
    value: object | None
    fault: str = ""


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # imported late: it accounts for half of the runtime's import time

    return {point.name: point for point in entry_points(group=f"edgeseg.{group}")}


def names(group: str) -> tuple[str, ...]:
    """Return the sorted names registered under `edgeseg.<group>`, without importing any of them."""
    return tuple(sorted(_points(group)))


def load_plugin(group: str, name: str) -> object:
    """Return the object registered as `name`.

    Raises:
        UnknownName: no such name, with the nearest one.
        MissingDependency: the plug-in is registered but cannot be imported, with the reason.
    """
    points = _points(group)
    if name not in points:
        raise unknown(group.rstrip("s"), name, points)
    plugin = _try(points[name])
    if plugin.fault:
        raise MissingDependency(f'{group.rstrip("s").capitalize()} "{name}" cannot be loaded: {plugin.fault}')
    return plugin.value


def load_as(group: str, name: str, protocol: type[_T]) -> _T:
    """Return the object registered as `name`, checked against the protocol of its group.

    Raises:
        UnknownName, MissingDependency: as `load_plugin`; the latter also for an object that lacks part of the protocol.
    """
    found = load_plugin(group, name)
    if not isinstance(found, protocol):
        raise MissingDependency(
            f'The plug-in "{name}" is registered under edgeseg.{group}, but is not one of them: it lacks part of '
            f"{protocol.__module__}.{protocol.__name__}."
        )
    return found


def load_all(group: str) -> tuple[Plugin, ...]:
    """Return every plug-in of a group; a broken one is listed with its reason and does not stop the others."""
    return tuple(_try(point) for _, point in sorted(_points(group).items()))


def _try(point: EntryPoint) -> Plugin:
    try:
        return Plugin(name=point.name, value=point.load())
    except Exception as error:  # noqa: BLE001 - a third party's import may fail in any way; the others must still load
        return Plugin(name=point.name, value=None, fault=f"{type(error).__name__}: {error}")
