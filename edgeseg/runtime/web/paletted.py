"""Label maps as paletted PNG: one byte a pixel, colours in a table that the browser may change without decoding.

PNG (ISO/IEC 15948): signature, then chunks of length, type, data and CRC-32; colour type 3 is indexed colour.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
INDEXED_8_BIT = (8, 3, 0, 0, 0)
LEVEL = 1


def paletted_png(labels: np.ndarray, *, palette: tuple[tuple[int, int, int], ...]) -> bytes:
    """Return a PNG of labels (H, W) uint8 with `palette` (RGB); its tRNS chunk says 255 for every class.

    A label beyond the palette, such as the ignored one, is transparent black.
    """
    height, width = labels.shape
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    alpha = np.zeros(256, np.uint8)
    alpha[: len(palette)] = 255
    rows = np.zeros((height, width + 1), np.uint8)
    # The byte before each row is its filter: 0, none.
    rows[:, 1:] = labels
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II5B", width, height, *INDEXED_8_BIT)),
            _chunk(b"PLTE", colors.tobytes()),
            _chunk(b"tRNS", alpha.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
