"""Images and label maps from files, each checked as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

# cv2.imdecode fills what is missing from a truncated JPEG or PNG with grey and only logs it, so ends are checked here.
_ENDS = {b"\xff\xd8": (b"\xff\xd9", "JPEG"), b"\x89P": (b"IEND\xaeB`\x82", "PNG")}


def _whole(path: Path) -> np.ndarray:
    """Return a file's bytes, (N,) uint8, after checking that it is there, not empty and not cut short."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). Check the file and its permissions.") from error
    if not content:
        raise DatasetError(f"{path}: empty file (0 bytes). Copy it again or remove it.")
    if content[:2] in _ENDS:
        end, kind = _ENDS[content[:2]]
        if end not in content[-4096:]:
            raise DatasetError(
                f"{path}: truncated {kind} ({len(content)} bytes, no end marker). Copy it again or remove it."
            )
    return np.frombuffer(content, np.uint8)


def _decode(path: Path, flags: int) -> np.ndarray:
    """Return a decoded image."""
    try:
        image = cv2.imdecode(_whole(path), flags)
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"{path}: not a readable image (OpenCV cannot decode it). Save it again or remove it.")
    return np.asarray(image)


def read_image(path: Path) -> np.ndarray:
    """Return an image, (H, W, 3) uint8 BGR; Exif rotation is ignored, since a label map carries none."""
    return _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def read_labels(path: Path, *, classes: tuple[str, ...], ignore_index: int) -> np.ndarray:
    """Return a label map, (H, W) uint8; raises `DatasetError` unless it is one channel of 8 bit with known indices."""
    labels = _decode(path, cv2.IMREAD_UNCHANGED)
    if labels.ndim != 2:
        raise DatasetError(
            f"{path}: label map has {labels.shape[2]} channels, 1 is needed (a colour image or palette PNG?). "
            "Save the class index of each pixel as 8-bit greyscale."
        )
    if labels.dtype != np.uint8:
        raise DatasetError(f"{path}: label map is {labels.dtype}, uint8 is needed. Save it as 8-bit greyscale PNG.")
    known = np.zeros(256, bool)
    known[: len(classes)] = True
    known[ignore_index] = True
    wrong = np.flatnonzero((np.bincount(labels.ravel(), minlength=256) > 0) & ~known)
    if len(wrong):
        listed = ", ".join(str(v) for v in wrong[:6]) + (", ..." if len(wrong) > 6 else "")
        raise DatasetError(
            f"{path}: class index {listed}, but classes.txt has {len(classes)} classes (0 to {len(classes) - 1}; "
            f"{ignore_index} = ignore). Correct the label map or add the class."
        )
    return labels
