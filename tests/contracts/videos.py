"""Videos for tests, made by PyAV: each frame shows its own number, as `mjpeg_server.image_of` draws it."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from contracts.mjpeg_server import image_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

av = pytest.importorskip("av", reason="PyAV makes the videos of these tests")
TICKS = 90_000


def write_video(
    path: Path,
    *,
    frames: int = 12,
    fps: int = 25,
    size: tuple[int, int] = (240, 320),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times_s: Sequence[float] | None = None,
    lasts_s: float | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Return the path of a new video whose frames show their numbers, at `fps` or at `times_s`.

    With `lasts_s`, the last one is announced to be shown that long.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    ticks = fps if times_s is None else TICKS
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=codec_options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = stream.time_base = Fraction(1, ticks)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(image_of(number, size), format="bgr24").reformat(format=pixel_format)
            frame.pts = round(ticks * (number / fps if times_s is None else times_s[number]))
            frame.time_base = Fraction(1, ticks)
            packets = stream.encode(frame)
            if lasts_s is not None and number == frames - 1:
                packets[-1].duration = round(ticks * lasts_s)
            container.mux(packets)
        container.mux(stream.encode())
    return path


def turn(path: Path, degrees: int) -> Path:
    """Return the path, its MP4 now with a matrix by which players turn it clockwise (ISO/IEC 14496-12, 8.3.2)."""
    one = 1 << 16
    matrices = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}
    a, b, c, d = matrices[degrees]
    data = bytearray(path.read_bytes())
    begin = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, begin, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def break_packets(path: Path, numbers: Sequence[int]) -> Path:
    """Return the path after the coded bytes of those packets were overwritten."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        position, size = places[number]
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    return path
