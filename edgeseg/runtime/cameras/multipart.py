"""JPEG images out of a multipart/x-mixed-replace stream, as network cameras send them (RFC 2046, 5.1)."""

from __future__ import annotations

import re

from edgeseg.runtime.cameras.feed import LARGEST_PIXELS

LARGEST_BYTES = 64 << 20
HEAD_END = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
SCAN, RESTARTS, NO_LENGTH = 0xDA, range(0xD0, 0xD8), (0x01, 0xD8)
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In a scan a byte of 255 is followed by 0, by a restart marker, or by 255 as filling.
STRAY = re.compile(rb"\xff[^\x00\xff]")


class Parts:
    """Takes bytes as they arrive and gives the bodies of the parts that are complete."""

    def __init__(self, boundary: bytes) -> None:
        # Cameras write the boundary with or without its dashes, in the header as in the body.
        self._boundary = b"--" + boundary.lstrip(b"-")
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that `data` completes; anything between parts is skipped."""
        self._held += data
        bodies = []
        while (body := self._next()) is not None:
            bodies.append(body)
        if len(self._held) > LARGEST_BYTES:
            self._held.clear()
            bodies.append(b"")  # counted as one damaged image
        return bodies

    def _next(self) -> bytes | None:
        start = self._held.find(self._boundary)
        if start < 0:
            del self._held[: -len(self._boundary)]
            return None
        head = HEAD_END.search(self._held, start + len(self._boundary))
        if head is None:
            return None
        end = self._end(head.end(), LENGTH.search(self._held, start, head.end()))
        if end is None:
            return None
        body = bytes(self._held[head.end() : end])
        del self._held[:end]
        return body

    def _end(self, start: int, length: re.Match[bytes] | None) -> int | None:
        """Return where the body that begins at `start` ends, None while it is not complete."""
        if length is not None:
            said = start + int(length[1])
            if said <= len(self._held):
                return said if self._follows(said) else self._before_boundary(start, upto=said) or said
            # A length that is too large would swallow whole images.
            return self._before_boundary(start, upto=len(self._held))
        # Without a length only the last marker shows at once that an image is complete.
        whole = bytes(self._held[start:]).rstrip(b"\r\n")
        if whole.endswith(JPEG_END) and damage(whole) == "":
            return start + len(whole)
        return self._before_boundary(start, upto=len(self._held))

    def _follows(self, position: int) -> bool:
        rest = bytes(self._held[position : position + 4 + len(self._boundary)]).lstrip(b"\r\n")
        return self._boundary.startswith(rest[: len(self._boundary)])

    def _before_boundary(self, start: int, *, upto: int) -> int | None:
        found = self._held.find(self._boundary, start, upto)
        if found < 0:
            return None
        while found > start and self._held[found - 1] in b"\r\n":
            found -= 1
        return found


def damage(jpeg: bytes) -> str:
    """Return what is wrong with the structure of a JPEG, or an empty text (ISO/IEC 10918-1, annex B).

    Decoders silently fill missing parts with grey, so the markers are checked here, and the size in the frame header
    before memory is allocated for it. Wrong bits inside the coded pixels cannot be detected this way.
    """
    if not jpeg.startswith(JPEG_START):
        return "is not a JPEG"
    position, restarts = 2, False
    while position + 4 <= len(jpeg):
        marker = jpeg[position + 1]
        if jpeg[position] != 0xFF:
            return "a marker is missing"
        if marker == 0xD9:
            return ""
        if marker == 0xFF or marker in NO_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == 0xDD:
            restarts = jpeg[position + 4 : position + 6] != b"\0\0"
        if marker in FRAME_HEADERS:
            height, width = (int.from_bytes(jpeg[at : at + 2], "big") for at in (position + 5, position + 7))
            if height * width > LARGEST_PIXELS:
                return f"claims {height}x{width} pixels"
        position += 2 + length
        if marker == SCAN:
            position, fault = _scan_end(jpeg, position, restarts=restarts)
            if fault:
                return fault
    return "" if jpeg[position : position + 2] == JPEG_END else "is cut off"


def _scan_end(jpeg: bytes, position: int, *, restarts: bool) -> tuple[int, str]:
    while (stray := STRAY.search(jpeg, position)) is not None:
        if jpeg[stray.start() + 1] not in RESTARTS:
            return stray.start(), ""
        if not restarts:
            return stray.start(), "contains a restart marker where none is allowed"
        position = stray.end()
    return len(jpeg), "is cut off"
