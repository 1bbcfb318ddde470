"""The cameras of this machine, and the kinds of source that work on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from edgeseg.core import registry
from edgeseg.runtime.cameras.source import CameraKind, SourceStatus
from edgeseg.runtime.cameras.v4l2_devices import Device, devices


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A kind of source by its registered name, and whether it works here."""

    name: str
    status: SourceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraListing:
    """The cameras by path, and every kind of source."""

    devices: tuple[Device, ...]
    kinds: tuple[SourceKind, ...]


def list_cameras() -> CameraListing:
    """Return the V4L2 devices and the kinds of source; opens no camera's stream, never raises."""
    found = devices() if sys.platform.startswith("linux") else ()
    return CameraListing(devices=found, kinds=tuple(_kind(plugin) for plugin in registry.load_all("cameras")))


def _kind(plugin: registry.Plugin) -> SourceKind:
    if isinstance(plugin.value, CameraKind):
        return SourceKind(name=plugin.name, status=plugin.value.status())
    status = SourceStatus(uris=(), works=False, detail=plugin.fault or "is not a kind of camera")
    return SourceKind(name=plugin.name, status=status)
