"""Label maps as PNG files, in grey or with the classes' colours, written atomically."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.files import write_whole
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY, PNG_INDEXED = 0, 3
ROWS_AT_ONCE = 256
Palette = tuple[tuple[int, int, int], ...]


def write_labels(path: Path, labels: np.ndarray, *, palette: Palette | None = None) -> None:
    """Write class ids (H, W) uint8 as an 8-bit PNG: grey levels, or indices into `palette` (RGB).

    Follows the PNG specification (W3C, third edition); each row is stored as the difference to the one above, which
    compresses label maps well. Raises `InputError` if the file cannot be written.
    """
    height, width = labels.shape
    chunks = [
        _chunk(
            b"IHDR", struct.pack(">IIBBBBB", width, height, 8, PNG_GREY if palette is None else PNG_INDEXED, 0, 0, 0)
        )
    ]
    if palette is not None:
        # Indices without an entry would make the file invalid: 255, the ignore index, is black.
        colors = [*palette, *[(0, 0, 0)] * (256 - len(palette))]
        chunks.append(_chunk(b"PLTE", bytes(channel for color in colors for channel in color)))
    chunks += [_chunk(b"IDAT", _deflated(labels)), _chunk(b"IEND", b"")]
    _write(path, _SIGNATURE + b"".join(chunks))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) BGR uint8 in the format of the path's suffix; raises `InputError` if that fails."""
    import cv2

    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise InputError(f"{path}: this OpenCV cannot write {path.suffix}.")
    _write(path, data.tobytes())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(content, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}.") from None


def _deflated(labels: np.ndarray) -> bytes:
    packer = zlib.compressobj(level=6)
    above = np.zeros((1, labels.shape[1]), np.uint8)
    done = []
    for top in range(0, len(labels), ROWS_AT_ONCE):
        band = np.concatenate([above, labels[top : top + ROWS_AT_ONCE]])
        lines = np.full((len(band) - 1, labels.shape[1] + 1), 2, np.uint8)  # filter type 2: "up"
        np.subtract(band[1:], band[:-1], out=lines[:, 1:])
        done.append(packer.compress(lines.tobytes()))
        above = band[-1:]
    return b"".join([*done, packer.flush()])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
