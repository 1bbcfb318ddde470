"""One file a kind of source; `open_camera` finds the right one by the source's spelling."""

from __future__ import annotations

from edgeseg.runtime.cameras.source import Request, Source, open_camera

__all__ = ["Request", "Source", "open_camera"]
