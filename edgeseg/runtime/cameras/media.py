"""A video file or stream, decoded image by image: by PyAV where it is installed, otherwise by OpenCV's FFmpeg."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.runtime.cameras.decoded import MediaReader, Opening


def has_pyav() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def open_media(opening: Opening) -> MediaReader:
    """Return an opened reader.

    Raises:
        CameraError: it does not open, holds no video, or OpenCV here cannot decode it correctly.
    """
    if has_pyav():
        from edgeseg.runtime.cameras.pyav_reader import PyAvReader

        return PyAvReader(opening)
    from edgeseg.runtime.cameras.opencv_reader import OpenCvReader

    return OpenCvReader(opening)
