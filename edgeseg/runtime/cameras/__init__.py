"""One file a kind of source; `open_camera` finds the right one from the source's text."""

from __future__ import annotations

from edgeseg.runtime.cameras.listing import CameraListing, list_cameras
from edgeseg.runtime.cameras.source import CameraKind, Request, SourceStatus, open_camera

__all__ = ["CameraKind", "CameraListing", "Request", "SourceStatus", "list_cameras", "open_camera"]
