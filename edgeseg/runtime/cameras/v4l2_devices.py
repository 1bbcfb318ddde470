"""The V4L2 devices and their formats, as the kernel reports them (linux/videodev2.h)."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERYCAP = (0x80685600, 104)
ENUM_FMT = (0xC0405602, 64)
ENUM_FRAMESIZES = (0xC02C564A, 44)
"""Request numbers and the sizes of their structures in bytes."""
CAPTURE, CAPTURE_MPLANE, DEVICE_CAPS = 0x1, 0x1000, 0x80000000
SINGLE_PLANAR, MULTI_PLANAR = 1, 9
DISCRETE = 1
_GROUP = "sudo usermod -aG video $USER, then log in again"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """A FourCC with its sizes (height, width); for a range, the smallest and the largest."""

    code: str
    description: str
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A video device; `fault` says why it cannot be used, and `fix` what to do about it."""

    path: str
    name: str
    driver: str = ""
    formats: tuple[PixelFormat, ...] = ()
    fault: str = ""
    fix: str = ""


def devices(*, sysfs: Path = Path("/sys/class/video4linux"), dev: Path = Path("/dev")) -> tuple[Device, ...]:
    """Return the devices that give images, and those that cannot be queried; other nodes are left out."""
    names = {path.name for path in dev.glob("video*") if path.name[5:].isdecimal()}
    found = []
    for name in sorted(names, key=lambda name: int(name[5:])):
        try:
            title = (sysfs / name / "name").read_text(errors="replace").strip()
        except OSError:
            title = name
        device = describe_v4l2(dev / name, title=title)
        if device is not None:
            found.append(device)
    return tuple(found)


def describe_v4l2(path: Path, *, title: str) -> Device | None:
    """Return a device's own description, None if it gives no images."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return Device(path=str(path), name=title, fault=why(error), fix=fix_for(error))
    try:
        answer = _ask(descriptor, QUERYCAP, b"")
        driver, card, _, _, whole, own = struct.unpack_from("=16s32s32sIII", answer)
        can = own if whole & DEVICE_CAPS else whole
        if not can & (CAPTURE | CAPTURE_MPLANE):
            return None
        kind = SINGLE_PLANAR if can & CAPTURE else MULTI_PLANAR
        return Device(
            path=str(path), name=_text(card) or title, driver=_text(driver), formats=tuple(_formats(descriptor, kind))
        )
    except OSError as error:
        return Device(path=str(path), name=title, fault=why(error), fix=fix_for(error))
    finally:
        os.close(descriptor)


def why(error: OSError) -> str:
    """Return why a device cannot be opened or queried."""
    reasons = {
        errno.EACCES: "no permission to open it",
        errno.EPERM: "no permission to open it",
        errno.EBUSY: "another program is using it",
        errno.ENOENT: "it does not exist",
        errno.ENODEV: "its driver reports that nothing is connected",
        errno.ENXIO: "its driver reports that nothing is connected",
        errno.ENOTTY: "it is not a V4L2 device",
        errno.EINVAL: "it is not a V4L2 device",
    }
    return reasons.get(error.errno or 0, error.strerror or str(error))


def fix_for(error: OSError) -> str:
    """Return how to fix it, or an empty text."""
    steps = {
        errno.EACCES: _GROUP,
        errno.EPERM: "in a container: start it with --device for this device",
        errno.EBUSY: "fuser -v DEVICE names the program",
        errno.ENODEV: "plug the camera in again",
        errno.ENXIO: "plug the camera in again",
    }
    return steps.get(error.errno or 0, "")


def _formats(descriptor: int, kind: int) -> Iterator[PixelFormat]:
    for index in count():
        try:
            answer = _ask(descriptor, ENUM_FMT, struct.pack("=II", index, kind))
        except OSError:
            return
        description, code = struct.unpack_from("=32sI", answer, 12)
        yield PixelFormat(
            code=struct.pack("=I", code).decode("latin-1").strip(),
            description=_text(description),
            sizes=tuple(sorted(set(_sizes(descriptor, code)))),
        )


def _sizes(descriptor: int, code: int) -> Iterator[tuple[int, int]]:
    for index in count():
        try:
            answer = _ask(descriptor, ENUM_FRAMESIZES, struct.pack("=II", index, code))
        except OSError:
            return
        kind, *numbers = struct.unpack_from("=I6I", answer, 8)
        if kind == DISCRETE:
            yield numbers[1], numbers[0]
            continue
        # Stepwise: least, greatest and step of the width, then of the height.
        yield numbers[3], numbers[0]
        yield numbers[4], numbers[1]
        return


def _ask(descriptor: int, request: tuple[int, int], filled: bytes) -> bytes:
    import fcntl

    number, size_bytes = request
    return fcntl.ioctl(descriptor, number, filled.ljust(size_bytes, b"\0"))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace").strip()
