"""What a file's camera could not read, as one error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.errors import CameraError

if TYPE_CHECKING:
    from edgeseg.core.protocols import CameraCounts


def unread_frames(counts: CameraCounts, *, source: str) -> CameraError | None:
    """Return an error about the frames of `source` that could not be read, None if there are none."""
    parts = []
    if counts.corrupt:
        are = "is corrupt and was" if counts.corrupt == 1 else "are corrupt and were"
        parts.append(f"{counts.corrupt} of its frames {are} left out")
    if counts.missing:
        parts.append(f"it ended {counts.missing} frame{'' if counts.missing == 1 else 's'} early")
    if not parts:
        return None
    text = f"{source}: {', and '.join(parts)}. The results of the other frames are complete. {counts.damage}"
    return CameraError(text.rstrip())
