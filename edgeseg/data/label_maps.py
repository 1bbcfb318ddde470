"""Label maps from files: the stored values, and the class of each id or colour."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeseg.data.decoding import Decoding
from edgeseg.data.reading import check_header, decode_pixels, read_content, upright
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.pixels.image_header import Header

LabelColour = tuple[int, int, int]
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMapping:
    """Maps the ids or colours (R, G, B) of label files to class indices or `ignore_index`.

    `source` names the file that defines the mapping. Without colours, label files hold ids: grey levels or palette
    indices.
    """

    classes: tuple[str, ...]
    ids: dict[int, int] = field(default_factory=dict)
    colours: dict[LabelColour, int] = field(default_factory=dict)
    ignore_index: int = 255
    source: str = "classes.txt"

    @classmethod
    def indices(cls, classes: tuple[str, ...], *, ignore_index: int = 255) -> LabelMapping:
        """Return the mapping for label files that hold class indices."""
        ids = {ignore_index: ignore_index, **{index: index for index in range(len(classes))}}
        return cls(classes=classes, ids=ids, ignore_index=ignore_index)

    @property
    def plain(self) -> bool:
        """Whether label files hold the class indices themselves."""
        return not self.colours and all(value == index for value, index in self.ids.items())

    def class_indices(self, values: NDArray[Any], *, path: Path) -> NDArray[np.uint8]:
        """Return class indices, (H, W) uint8, from ids (H, W) or colours (H, W, 3) BGR.

        Raises:
            DatasetError: the file has another number of channels, or unknown values (listed with their pixel counts).
        """
        if self.colours:
            keys: NDArray[Any] = _packed(_three_channels(values, path=path))
            table = {r << 16 | g << 8 | b: index for (r, g, b), index in self.colours.items()}
        else:
            keys = _ids(values, path=path, plain=self.plain)
            table = self.ids
        indices, unknown = _looked_up(keys, table)
        if unknown:
            raise DatasetError(self._unknown(path, unknown))
        return indices

    def _unknown(self, path: Path, values: list[tuple[int, int]]) -> str:
        shown = ", ".join(
            f"{f'#{value:06x}' if self.colours else value} ({count:,} pixels)" for value, count in values[:_SHOWN]
        )
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        if self.colours:
            return f"{path}: colour {shown}{more}, which {self.source} does not assign to a class. Add it there."
        if self.plain:
            last = len(self.classes) - 1
            return (
                f"{path}: class index {shown}{more}, but {self.source} has {len(self.classes)} classes (0 to {last}; "
                f"{self.ignore_index} = ignore). Fix the label map, add the class, or map the values in "
                "dataset.toml."
            )
        advice = "Fix the label map, or map the id in dataset.toml [classes]."
        return f"{path}: id {shown}{more}, which {self.source} does not assign to a class. {advice}"


def read_labels(
    path: Path,
    *,
    mapping: LabelMapping,
    decoding: Decoding | None = None,
    image: Header | None = None,
    image_path: Path | None = None,
) -> NDArray[np.uint8]:
    """Return a label map's class indices, (H, W) uint8; `image` is the header of its image, whose upright size it has.

    Raises:
        DatasetError: the file cannot be read, does not fit its image, or holds values that no class has.
    """
    values = read_values(path, decoding=decoding)
    if image is not None and values.shape[:2] != image.upright:
        raise DatasetError(misfit(path, values.shape, image=image, name=image_path.name if image_path else ""))
    return mapping.class_indices(values, path=path)


def read_values(path: Path, *, decoding: Decoding | None = None) -> NDArray[Any]:
    """Return the values in a label file: ids (H, W), or colours (H, W, 3) BGR.

    A palette PNG gives palette indices, a PNG of 1, 2 or 4 bits its stored values (OpenCV would scale them to 255), and
    a PNG of grey and alpha its grey channel.
    """
    return values_of(path, read_content(path), decoding=decoding)


def mask_of_png(content: bytes) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of a small PNG that are drawn: opaque, or not black. Raises `ValueError`."""
    try:
        header = check_header(Path("mask"), content, decoding=Decoding().resolved())
        values = decode_pixels(Path("mask"), content, header, flags=cv2.IMREAD_UNCHANGED)
    except DatasetError as error:
        raise ValueError(str(error).rstrip(".")) from None
    if values.ndim == 2:
        return np.asarray(values > 0)
    return np.asarray(values[:, :, 3] > 0 if values.shape[2] == 4 else values.any(axis=2))


def values_of(path: Path, content: bytes, *, decoding: Decoding | None = None) -> NDArray[Any]:
    """Return the values in a label file's bytes, as `read_values` does; `path` is for messages."""
    header = check_header(path, content, decoding=(decoding or Decoding()).resolved())
    if header.kind == "PNG" and header.palette:
        content = _without_palette(content)
        header = replace(header, end=len(content))
    values = decode_pixels(path, content, header, flags=cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if header.kind == "PNG" and header.bits < 8 and values.ndim == 2:
        values = values // np.uint8(255 // (2**header.bits - 1))
    elif header.kind == "PNG" and content[25] == 4:
        values = values[:, :, 0]
    elif values.ndim == 3:
        values = values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0]
    return upright(values, header.orientation)


def _without_palette(content: bytes) -> bytes:
    """Return a palette PNG as a greyscale PNG whose pixels are the palette indices."""
    kept = [content[:8]]
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, chunk = content[at + 4 : at + 8], content[at : at + 12 + length]
        if name == b"IHDR":
            inner = chunk[4:17] + b"\x00" + chunk[18:-4]
            chunk = chunk[:4] + inner + struct.pack(">I", zlib.crc32(inner))
        if name in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept)


def misfit(path: Path, shape: Iterable[int], *, image: Header, name: str) -> str:
    """Return the message for a label map at `path` whose shape (H, W) is not its image's upright size."""
    height, width = tuple(shape)[:2]
    tall, wide = image.upright
    if (height, width) == (image.height, image.width):
        return (
            f"{path}: label map is {height}x{width}, which fits its image {name} only before it is rotated: with its "
            f"EXIF orientation {image.orientation} every viewer shows it as {tall}x{wide}. If the labels were drawn on "
            "the unrotated pixels, rotate them too, or remove the image's orientation (exiftool -Orientation= FILE)."
        )
    return (
        f"{path}: label map is {height}x{width}, its image {name} is {tall}x{wide}. Check that the two belong "
        "together; resize the label map only with nearest neighbour."
    )


def _three_channels(values: NDArray[Any], *, path: Path) -> NDArray[Any]:
    if values.ndim != 3 or values.dtype != np.uint8:
        raise DatasetError(
            f"{path}: label map is grey, {values.dtype}, but its classes are given by colour. Give ids instead of "
            "colours, or the coloured label maps."
        )
    return values


def _ids(values: NDArray[Any], *, path: Path, plain: bool) -> NDArray[Any]:
    if values.ndim == 3:
        raise DatasetError(
            f"{path}: label map has 3 channels, 1 is needed. If its colours are classes, say which in dataset.toml "
            '([classes] road = "#804080"); else save the class index of each pixel as 8-bit greyscale.'
        )
    if values.dtype != np.uint8 and plain:
        raise DatasetError(
            f"{path}: label map is {values.dtype}, uint8 is needed. Save it as 8-bit greyscale PNG, or map its ids in "
            "dataset.toml ([classes] road = 7)."
        )
    if not np.issubdtype(values.dtype, np.integer):
        raise DatasetError(f"{path}: label map is {values.dtype}; ids are whole numbers. Save it as PNG.")
    return values


def _packed(colours: NDArray[Any]) -> NDArray[np.int64]:
    blue, green, red = (colours[:, :, channel].astype(np.int64) for channel in range(3))
    return red << 16 | green << 8 | blue


def _looked_up(keys: NDArray[Any], table: dict[int, int]) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Return the class index of each pixel (H, W), and the unknown values with their pixel counts."""
    if keys.dtype == np.uint8:
        keys = np.ascontiguousarray(keys)
        present = np.flatnonzero(cv2.calcHist([keys], [0], None, [256], [0, 256]))
        unknown = [(value, int(np.count_nonzero(keys == value))) for value in present.tolist() if value not in table]
        lut = np.array([table.get(value, 0) for value in range(256)], np.uint8)
        return np.asarray(cv2.LUT(keys, lut)), unknown
    values = np.array(sorted(table), np.int64)
    indices = np.array([table[value] for value in values.tolist()], np.uint8)
    places = np.minimum(np.searchsorted(values, keys), len(values) - 1)
    known = values[places] == keys
    if known.all():
        return indices[places], []
    found, amounts = np.unique(keys[~known], return_counts=True)
    return indices[places], list(zip(found.tolist(), amounts.tolist(), strict=True))
