"""`edgeseg cameras`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "list the cameras of this machine, and which sources --source can take here"

SHOWN_SIZES = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: none of its own."""


def run(options: argparse.Namespace) -> int:
    """Print devices and kinds of source."""
    from edgeseg.cli import render
    from edgeseg.runtime.cameras import list_cameras

    listing = list_cameras()
    if options.json:
        render.result_json(listing)
        return 0
    rows = [
        (device.path, device.name, device.fault or _formats(device.formats), device.fix) for device in listing.devices
    ]
    if rows:
        render.table("Cameras", ("source", "name", "formats and sizes", "how to fix it"), rows)
    else:
        render.result("Cameras: none on this machine (no /dev/video*).\n")
    statuses = [(kind.name, kind.status) for kind in listing.kinds]
    kinds = [
        (name, "\n".join(status.uris), "yes" if status.works else "no", status.detail, status.fix)
        for name, status in statuses
    ]
    render.table("Sources", ("kind", "written as", "works", "detail", "how to fix it"), kinds)
    return 0


def _formats(formats: object) -> str:
    from edgeseg.runtime.cameras.v4l2_devices import PixelFormat

    assert isinstance(formats, tuple)
    lines = []
    for known in formats:
        assert isinstance(known, PixelFormat)
        sizes = [f"{height}x{width}" for height, width in known.sizes]
        shown = [*sizes[:1], "...", *sizes[1 - SHOWN_SIZES :]] if len(sizes) > SHOWN_SIZES else sizes
        lines.append(f"{known.code}: {', '.join(shown)}")
    return "\n".join(lines)
