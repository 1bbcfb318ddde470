"""The one reader of image files: training, calibration, prediction, validation and cameras see the same pixels.

Images are returned upright (EXIF orientation applied), (H, W, 3) uint8 BGR. Grey images get three equal channels,
palettes are expanded, CMYK is converted by OpenCV, alpha is dropped, and of several pages or frames the first is used.
Bytes after the end of a JPEG (a motion photo's video) are ignored. Files that decode to anything else are refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeseg.data.decoding import MAX_PIXELS_VARIABLE, PERCENTILES, RANGE_VARIABLE, Decoding, PixelRange
from edgeseg.errors import DatasetError
from edgeseg.pixels.image_header import Header, read_header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: Path, *, decoding: Decoding | None = None) -> NDArray[np.uint8]:
    """Return an image, (H, W, 3) uint8 BGR, as a viewer shows it.

    Raises:
        DatasetError: the file is missing, damaged, of another type, above the pixel limit, or has more than 8 bits
            and no range is given; the message names the file and says what to do.
    """
    return read_with_header(path, decoding=decoding)[0]


def read_with_header(path: Path, *, decoding: Decoding | None = None) -> tuple[NDArray[np.uint8], Header]:
    """Return an image as `read_image` does, and its header."""
    return decode_image(path, read_content(path), decoding=decoding)


def decode_image(path: Path, content: bytes, *, decoding: Decoding | None = None) -> tuple[NDArray[np.uint8], Header]:
    """Return an image and its header from a file's bytes, as `read_image` does; `path` is for messages."""
    rules = (decoding or Decoding()).resolved()
    header = check_header(path, content, decoding=rules)
    # OpenCV cannot decode a grey TIFF of float values as colour.
    plain = header.kind == "TIFF" and header.bits >= 32
    image = decode_pixels(path, content, header, flags=_STORED if plain else _COLOUR)
    if plain:
        image = image[:, :, :3] if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8:
        image = _to_8_bits(path, image, rules.range)
    return upright(image, header.orientation), header


def read_content(path: Path) -> bytes:
    """Return a file's bytes; raises `DatasetError` if it cannot be read or is empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). Check the file and its permissions.") from error
    if not content:
        raise DatasetError(f"{path}: empty file (0 bytes). Copy it again or remove it.")
    return content


def check_header(path: Path, content: bytes, *, decoding: Decoding) -> Header:
    """Return an image's header; raises `DatasetError` if it cannot be decoded or is above the pixel limit."""
    try:
        header = read_header(content)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}. Save it again, or remove it.") from None
    limit = decoding.max_pixels
    if limit is not None and header.pixels > limit:
        raise DatasetError(
            f"{path}: its header says {header.height}x{header.width}, {header.pixels:,} pixels in "
            f"{len(content):,} bytes; the limit is {limit:,}. If the image is really that large, set "
            f"{MAX_PIXELS_VARIABLE}={header.pixels} or [data] max_pixels = {header.pixels}."
        )
    return header


def decode_pixels(path: Path, content: bytes, header: Header, *, flags: int) -> NDArray[Any]:
    """Return the stored pixels, before the orientation; raises `DatasetError` if OpenCV cannot decode them."""
    if header.orientation_at is not None:  # OpenCV rotates TIFFs regardless of the flags
        at, order = header.orientation_at
        content = content[:at] + struct.pack(order + "H", 1) + content[at + 2 :]
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8, count=header.end), flags)
    except (cv2.error, MemoryError):
        image = None
    if image is None or image.shape[:2] != (header.height, header.width):
        raise DatasetError(
            f"{path}: not a readable image (OpenCV cannot decode this {header.kind} of {header.height}x{header.width})."
            " Save it again or remove it."
        )
    return np.asarray(image)


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the image rotated and mirrored by an EXIF orientation (1 to 8)."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _to_8_bits(path: Path, image: NDArray[Any], limits: PixelRange | None) -> NDArray[np.uint8]:
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"{path}: holds values that are not numbers (NaN or infinity). Replace them.")
    if limits is None:
        low, high = float(values.min()), float(values.max())
        white = max(255, 2 ** int(np.ceil(np.log2(high + 1))) - 1) if high > 1 else 1
        raise DatasetError(
            f"{path}: a {image.dtype} image with values from {low:g} to {high:g}; a net sees 8 bits. Say which values "
            f'are black and white: [data] range = [0, {white}] (or "percentile") in the recipe or in dataset.toml, '
            f"or {RANGE_VARIABLE}=0:{white}."
        )
    low, high = np.percentile(values, PERCENTILES) if limits == "percentile" else limits
    scaled = (values - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    result: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return result
