"""YUV4MPEG2, the raw video that GStreamer's `y4menc` writes: a line of sizes, then FRAME and three planes each time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"YUV4MPEG2"
FRAME = b"FRAME\n"
LONGEST_LINE = 200
_LARGEST_SIDE = 1 << 15


class BadVideo(Exception):
    """The bytes are not YUV4MPEG2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """How the planes of 4:2:0 lie in a frame: the image's size, and the rows and their length as they are stored."""

    height: int
    width: int
    luma: tuple[int, int]
    chroma: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """Bytes of one frame."""
        return self.luma[0] * self.luma[1] + 2 * self.chroma[0] * self.chroma[1]


class Y4mReader:
    """Reads images through `read(size)`, which returns exactly that many bytes.

    A new line of sizes may come in mid-stream. GStreamer up to 1.22 stores rows padded to four bytes, against the
    format's description; the start of the next frame shows which of the two it is.
    """

    def __init__(self, read: Callable[[int], bytearray]) -> None:
        self.fps: float | None = None
        self._read = read
        self._held = bytearray()
        self._planes: Planes | None = None
        self._choices: tuple[Planes, ...] = ()

    def header(self) -> None:
        """Read the first line; raises `BadVideo`."""
        self._start(self._take(len(FRAME)))

    def image(self) -> np.ndarray:
        """Return the next image (H, W, 3) BGR uint8; raises `BadVideo`."""
        while (mark := self._take(len(FRAME))) != FRAME:
            if mark != MAGIC[: len(FRAME)]:  # y4menc does not announce a new size
                raise BadVideo("its images changed their size")
            self._start(mark)
        if self._planes is None:
            self._planes = self._found()
        return to_bgr(self._take(self._planes.size_bytes), self._planes)

    def _start(self, mark: bytearray) -> None:
        line = bytearray(mark)
        while not line.endswith(b"\n"):
            line += self._take(1)
            if len(line) > LONGEST_LINE:
                break
        sides = re.match(MAGIC + rb"(?= )(?=.* W(\d+))(?=.* H(\d+))(?=.* F(\d+):(\d+))", line)
        if sides is None:
            raise BadVideo(f"expected a YUV4MPEG2 header, got {bytes(line[:20])!r}")
        width, height, rate, per = (int(number) for number in sides.groups())
        if not 0 < width < _LARGEST_SIDE or not 0 < height < _LARGEST_SIDE:
            raise BadVideo(f"an image of {height}x{width}")
        self.fps = rate / per if rate and per else None
        self._choices = layouts(height, width)
        self._planes = self._choices[0] if len(self._choices) == 1 else None

    def _found(self) -> Planes:
        tight, padded = self._choices
        ahead = self._take(tight.size_bytes + len(FRAME))
        self._held = ahead + self._held
        following = ahead[tight.size_bytes :]
        return tight if following in (FRAME, MAGIC[: len(FRAME)]) else padded

    def _take(self, size: int) -> bytearray:
        if not self._held:
            return self._read(size)
        taken, self._held = self._held[:size], self._held[size:]
        return taken + self._read(size - len(taken)) if len(taken) < size else taken


def layouts(height: int, width: int) -> tuple[Planes, ...]:
    """Return the ways in which a frame of that size may be stored: tight, and padded where that differs."""
    half = (-(-height // 2), -(-width // 2))
    tight = Planes(height=height, width=width, luma=(height, width), chroma=half)
    padded = Planes(height=height, width=width, luma=(2 * half[0], _fours(width)), chroma=(half[0], _fours(half[1])))
    return (tight,) if tight == padded else (tight, padded)


def to_bgr(data: bytearray, planes: Planes) -> np.ndarray:
    """Return the image (H, W, 3) BGR uint8 of one frame's bytes (BT.601, limited range)."""
    import cv2

    flat = np.frombuffer(data, np.uint8)
    height, width = 2 * planes.chroma[0], 2 * -(-planes.width // 2)
    if planes.luma == (height, width) and planes.chroma[1] * 2 == width:
        stacked = flat.reshape(height * 3 // 2, width)
        return cv2.cvtColor(stacked, cv2.COLOR_YUV2BGR_I420)[: planes.height, : planes.width]
    return _unpadded(flat, planes, (height, width))[: planes.height, : planes.width]


def _unpadded(flat: np.ndarray, planes: Planes, even: tuple[int, int]) -> np.ndarray:
    import cv2

    rows, length = planes.luma
    chroma_size = planes.chroma[0] * planes.chroma[1]
    luma = np.zeros(even, np.uint8)
    luma[: min(rows, even[0]), : min(length, even[1])] = flat[: rows * length].reshape(rows, length)[:, : even[1]]
    parts = [luma.ravel()]
    for plane in range(2):
        begin = rows * length + plane * chroma_size
        stored = flat[begin : begin + chroma_size].reshape(planes.chroma)
        parts.append(stored[:, : even[1] // 2].ravel())
    stacked = np.concatenate(parts).reshape(even[0] * 3 // 2, even[1])
    return cv2.cvtColor(stacked, cv2.COLOR_YUV2BGR_I420)


def _fours(length: int) -> int:
    return -(-length // 4) * 4
