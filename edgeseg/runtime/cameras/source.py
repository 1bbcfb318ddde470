"""From what a person writes after `--source` to the camera that gives its frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgeseg.core import registry
from edgeseg.core.names import unknown
from edgeseg.core.protocols import Camera
from edgeseg.errors import InputError

# At least two letters: "C:\clip.mp4" is a path.
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: the whole text, its part after the scheme, and the wished (height, width) and rate.

    `options` are the `key=value` pairs after a `?`, for sources that have any.
    """

    uri: str
    rest: str
    size: tuple[int, int] | None = None
    fps: float | None = None

    def options(self, *known: str) -> tuple[str, dict[str, str]]:
        """Return `rest` without its options, and the options; raises `UnknownName` for one not in `known`."""
        from urllib.parse import parse_qsl

        plain, _, query = self.rest.partition("?")
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        for key in pairs:
            if key not in known:
                raise unknown(f"option of {self.uri}", key, known)
        return plain, pairs


@runtime_checkable
class Source(Protocol):
    """A kind of camera, registered under `edgeseg.cameras`; `schemes` are the words before the colon."""

    schemes: tuple[str, ...]

    def camera(self, request: Request) -> Camera:
        """Return the camera, not yet opened; raises `InputError` for a request that makes no sense."""


def open_camera(uri: str | Path, *, size: tuple[int, int] | None = None, fps: float | None = None) -> Camera:
    """Return the camera of a source; it opens when it is entered (`with open_camera("0") as camera:`).

    `synthetic[:seed][?live=1]`, a video file, a folder of pictures, `0` or `v4l2:/dev/video0`, `rtsp://...`,
    `http(s)://...`. Frames come at `size` (height, width) where it is given. `fps` is asked of a camera, and taken for
    the rate of a file or folder instead of its own.

    Raises:
        UnknownName: no source of that kind. InputError: no such file, or a size or rate that makes no sense.
    """
    text = str(uri)
    if size is not None and min(size) < 1:
        raise InputError(f"{text}: the size {size[0]}x{size[1]} has no pixels.")
    if fps is not None and not 0 < fps < 1e4:
        raise InputError(f"{text}: the rate {fps} frames per second makes no sense.")
    source, rest = _source_of(text)
    return source.camera(Request(uri=text, rest=rest, size=size, fps=fps))


def _source_of(text: str) -> tuple[Source, str]:
    sources = _by_scheme()
    if text.isdecimal():
        return sources["v4l2"], text
    if text.partition("?")[0] in sources:
        return sources[text.partition("?")[0]], text[len(text.partition("?")[0]) :]
    match = SCHEME.match(text)
    if match and match[1].lower() in sources:
        return sources[match[1].lower()], text[match.end() :]
    if Path(text).exists():
        return sources["file"], text
    if match and match.end() > 2:
        raise unknown("kind of source", match[1], sources)
    if not re.search(r"[./\\]", text):
        raise unknown("source", text, (*sources, "0"))
    raise InputError(f"{text}: no such file or folder.")


def _by_scheme() -> dict[str, Source]:
    sources = (plugin.value for plugin in registry.load_all("cameras"))
    return {scheme: source for source in sources if isinstance(source, Source) for scheme in source.schemes}
