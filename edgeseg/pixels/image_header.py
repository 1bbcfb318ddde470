"""Image headers, read without decoding pixels: kind, size, bit depth, EXIF orientation and the end of the image data.

The size is thus known before decoding, so a small file cannot claim gigabytes of memory, and the orientation is applied
by one rule, where OpenCV's versions differ. Formats: JPEG (ITU-T T.81, annex B), PNG (W3C), BMP, TIFF 6.0 with BigTIFF,
WebP (RFC 9649), PNM (Netpbm); the orientation is tag 0x0112 of EXIF 2.32.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP", "PNM"]

ORIENTATION, WIDTH, HEIGHT, BITS = 0x0112, 0x0100, 0x0101, 0x0102
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_NETPBM = re.compile(rb"P[3-6]" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 2)
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_OTHER = (
    (b"GIF8", "GIF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"version https://git-lfs", "Git LFS pointer (run git lfs pull)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The content of a header: `height` and `width` as stored, before `orientation` (EXIF, 1 to 8) is applied.

    `end` is the offset at which the image's own bytes end; `orientation_at` is the offset of a TIFF's orientation
    value, with its byte order ("<" or ">"). `palette` is true if the stored values are palette indices.
    """

    kind: Kind
    height: int
    width: int
    bits: int
    end: int
    orientation: int = 1
    palette: bool = False
    orientation_at: tuple[int, str] | None = None

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the image as a viewer shows it."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(content: bytes) -> Header:
    """Return the header of an image file's bytes.

    Raises:
        ValueError: another file type, truncated or damaged; the text completes "FILE: ...".
    """
    try:
        if content[:2] == b"\xff\xd8":
            return _jpeg(content)
        if content[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(content)
        if content[:2] == b"BM":
            return _bmp(content)
        if content[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
            return _tiff(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
        if (found := _NETPBM.match(content)) is not None:
            return _netpbm(content, found)
    except (struct.error, IndexError):
        raise ValueError(f"truncated ({len(content)} bytes end within the header)") from None
    raise ValueError(f"not a readable image: {_other_kind(content)}")


def _other_kind(content: bytes) -> str:
    for start, name in _OTHER:
        if content.startswith(start):
            return f"its content is {name}, not JPEG, PNG, BMP, TIFF or WebP"
    if content[4:8] == b"ftyp":
        name = "HEIC" if content[8:12] in (b"heic", b"heix", b"mif1", b"msf1") else "AVIF or a video"
        return f"its content is {name}, not JPEG, PNG, BMP, TIFF or WebP"
    return "its content is not JPEG, PNG, BMP, TIFF or WebP"


def _jpeg(content: bytes) -> Header:
    size, orientation = None, 1
    at = 2
    while at < len(content):
        while content[at] != 0xFF:  # a stray byte between segments, which decoders skip too
            at += 1
        while content[at] == 0xFF:
            at += 1
        marker = content[at]
        at += 1
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack_from(">H", content, at)
        body = content[at + 2 : at + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">BHH", body)
        elif marker == 0xE1 and body.startswith(b"Exif\x00\x00") and orientation == 1:
            orientation = _exif_orientation(body[6:])
        elif marker == 0xDA:
            if size is None or 0 in size:
                raise ValueError("damaged JPEG (no size before its pixels)")
            bits, height, width = size
            end = _jpeg_end(content, at + length)
            return Header(kind="JPEG", height=height, width=width, bits=bits, orientation=orientation, end=end)
        at += max(length, 2)
    raise ValueError(f"truncated JPEG ({len(content)} bytes, no pixels in it)")


def _jpeg_end(content: bytes, at: int) -> int:
    """Return the end of the first image: a phone's motion photo has a video after it, other files a preview."""
    while found := _MARKER.search(content, at):
        marker = content[found.start() + 1]
        if marker == 0xD9:
            return found.end()
        at = found.end()
        if 0xC0 <= marker <= 0xFE and marker != 0xD8:
            if at + 2 > len(content):
                break
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    raise ValueError(f"truncated JPEG ({len(content)} bytes, no end marker)")


def _png(content: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", content, 16)
    orientation, at = 1, 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            break
        if (
            name[:1].isupper()
            and zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]
        ):
            raise ValueError(f"damaged PNG (checksum of its {name.decode('latin-1')} chunk)")
        if name == b"eXIf":
            orientation = _exif_orientation(content[at + 8 : end - 4])
        if name == b"IEND":
            return Header(
                kind="PNG", height=height, width=width, bits=bits, orientation=orientation, palette=colour == 3, end=end
            )
        at = end
    raise ValueError(f"truncated PNG ({len(content)} bytes, no end marker)")


def _bmp(content: bytes) -> Header:
    (start, header) = struct.unpack_from("<II", content, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        packing = 0
    else:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", content, 18)
    height = abs(height)
    if width <= 0 or height == 0:
        raise ValueError(f"damaged BMP (size {height}x{width})")
    if packing in (0, 3) and start + (width * bits + 31) // 32 * 4 * height > len(content):
        raise ValueError(f"truncated BMP ({len(content)} bytes)")
    return Header(kind="BMP", height=height, width=width, bits=8, palette=bits <= 8, end=len(content))


def _netpbm(content: bytes, found: re.Match[bytes]) -> Header:
    return Header(kind="PNM", height=int(found[2]), width=int(found[1]), bits=8, end=len(content))


def _webp(content: bytes) -> Header:
    end = 8 + struct.unpack_from("<I", content, 4)[0]
    if end > len(content):
        raise ValueError(f"truncated WebP ({len(content)} bytes, its header says {end})")
    size, orientation, at = None, 1, 12
    while at + 8 <= end:
        name, (length,) = content[at : at + 4], struct.unpack_from("<I", content, at + 4)
        body = at + 8
        if name == b"VP8X":
            packed = int.from_bytes(content[body + 4 : body + 10], "little")
            size = (packed >> 24) + 1, (packed & 0xFFFFFF) + 1
        elif name == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", content, body + 6)
            size = height & 0x3FFF, width & 0x3FFF
        elif name == b"VP8L" and size is None:
            (packed,) = struct.unpack_from("<I", content, body + 1)
            size = (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
        elif name == b"EXIF":
            orientation = _exif_orientation(content[body : body + length].removeprefix(b"Exif\x00\x00"))
        at = body + length + length % 2
    if size is None or 0 in size:
        raise ValueError("damaged WebP (no size in it)")
    return Header(kind="WebP", height=size[0], width=size[1], bits=8, orientation=orientation, end=len(content))


def _tiff(content: bytes) -> Header:
    tags = _tags(content)
    if WIDTH not in tags or HEIGHT not in tags:
        raise ValueError("damaged TIFF (no size in its first page)")
    value, at = tags.get(ORIENTATION, (1, 0))
    return Header(
        kind="TIFF",
        height=tags[HEIGHT][0],
        width=tags[WIDTH][0],
        bits=tags.get(BITS, (1, 0))[0],
        orientation=value if 1 <= value <= 8 else 1,
        orientation_at=(at, _order(content)) if ORIENTATION in tags else None,
        end=len(content),
    )


def _exif_orientation(content: bytes) -> int:
    """Return the orientation in an EXIF block, which is a small TIFF; 1 if there is none or it is damaged."""
    try:
        value = _tags(content).get(ORIENTATION, (1, 0))[0]
    except (struct.error, IndexError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _order(content: bytes) -> str:
    return "<" if content[:2] == b"II" else ">"


def _tags(content: bytes) -> dict[int, tuple[int, int]]:
    """Return the first value of each integer tag of a TIFF's first page, with its offset."""
    order = _order(content)
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    offset, count_type, entry, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    (at,) = struct.unpack_from(order + offset, content, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_type, content, at)
    at += struct.calcsize(count_type)
    found = {}
    for number in range(min(count, 4096)):
        here = at + number * entry
        tag, kind = struct.unpack_from(order + "HH", content, here)
        (values,) = struct.unpack_from(order + offset, content, here + 4)
        if kind not in _TYPES or values == 0:
            continue
        place = here + entry - inline
        if values * struct.calcsize(_TYPES[kind]) > inline:
            (place,) = struct.unpack_from(order + offset, content, place)
        found[tag] = (struct.unpack_from(order + _TYPES[kind], content, place)[0], place)
    return found
