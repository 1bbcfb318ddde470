"""From the text after `--source` to the camera that gives its frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeseg.core import registry
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError
from edgeseg.runtime.cameras.address import Address, redacted
from edgeseg.runtime.cameras.feed import Reconnect

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera

# At least two letters: "C:\clip.mp4" is a path.
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
WILD = re.compile(r"[*?\[]")
COMMON = ("size", "fps", "format", "reconnect")
"""Options after the `?` of a camera, after the `#` of a stream, whose `?` is the server's. Files, `gst:`: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A source as requested: the whole text, its part after the scheme, and the options.

    `size` is (height, width), `fps` frames per second, `pixel_format` a FourCC.
    """

    uri: str
    rest: str
    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    reconnect: Reconnect = field(default_factory=Reconnect)

    @property
    def shown(self) -> str:
        """The text as it may be printed: without passwords."""
        return redacted(self.uri)

    def without_login(self, address: Address) -> Request:
        """Return this request with the bare address: a password may contain the mark that starts options."""
        return replace(self, uri=address.uri, rest=address.uri.partition(":")[2])

    def options(self, *own: str, mark: str = "?") -> tuple[Request, dict[str, str]]:
        """Return this request with the options after `mark` applied and cut from `rest`, and the values of `own` ones.

        Raises:
            UnknownName: no such option.
            InputError: an invalid value.
        """
        from urllib.parse import parse_qsl

        plain, _, query = self.rest.partition(mark)
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        for key in pairs:
            if key not in (*COMMON, *own):
                raise unknown(f"option of {self.shown}", key, (*COMMON, *own))
        again = pairs.get("reconnect")
        request = replace(
            self,
            rest=plain,
            size=_size(pairs["size"]) if "size" in pairs else self.size,
            fps=_number(pairs["fps"], what="fps") if "fps" in pairs else self.fps,
            pixel_format=pairs.get("format", self.pixel_format),
            reconnect=_reconnect(_number(again, what="reconnect")) if again else self.reconnect,
        )
        _check(request)
        return request, {key: pairs[key] for key in own if key in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """Whether a kind of source can work on this machine; where not, the reason and how to fix it.

    `uris` shows how it is written.
    """

    uris: tuple[str, ...]
    works: bool
    detail: str
    fix: str = ""


@runtime_checkable
class CameraKind(Protocol):
    """A kind of camera, registered under `edgeseg.cameras`; `schemes` are the possible words before the colon."""

    schemes: tuple[str, ...]

    def camera(self, request: Request) -> Camera:
        """Return the camera, not yet opened; raises `InputError` for an invalid request."""

    def status(self) -> SourceStatus:
        """Return whether this kind can work here; quick, opens no device, never raises."""


def open_camera(
    uri: str | Path,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    pixel_format: str | None = None,
    reconnect_s: float | None = None,
) -> Camera:
    """Return the camera for a source, which opens on entry.

    Example: `with open_camera("0") as camera:`.

    Sources: `synthetic[:seed][?live=1]`, a video file, a folder of images, a pattern (`images/*.png`), `0` or
    `v4l2:/dev/video0`, `rtsp://...`, `http(s)://...`, `csi://0`, `gst:PIPELINE`, `screen:`. Frames come at `size`
    (height, width) where it is given. `fps` is requested from a camera, and replaces the
    rate of a file or folder. `pixel_format` is a FourCC requested from a camera, such as `MJPG`. A lost live source is
    retried until no frame has come for `reconnect_s` seconds (default: 30; 0: never).

    Each may also be part of the source: `v4l2:/dev/video0?size=480x640&fps=30&format=MJPG`, and after a `#` for
    streams: `http://camera/video#reconnect=60`.

    Raises:
        UnknownName: no such kind of source.
        InputError: no such file, or an invalid option.
    """
    text = str(uri)
    source, rest = _source_of(text)
    request = Request(
        uri=text,
        rest=rest,
        size=size,
        fps=fps,
        pixel_format=pixel_format,
        reconnect=Reconnect() if reconnect_s is None else _reconnect(reconnect_s),
    )
    _check(request)
    return source.camera(request)


def sources() -> dict[str, CameraKind]:
    """Return every kind of source by the name it is registered under; broken plug-ins are left out."""
    plugins = registry.load_all("cameras")
    return {plugin.name: plugin.value for plugin in plugins if isinstance(plugin.value, CameraKind)}


def _source_of(text: str) -> tuple[CameraKind, str]:
    by_scheme = {scheme: source for source in sources().values() for scheme in source.schemes}
    if re.fullmatch(r"\d+(\?.*)?", text):
        return _kind_named("v4l2"), text
    bare = text.partition("?")[0]
    if bare in by_scheme:
        return by_scheme[bare], text[len(bare) :]
    match = SCHEME.match(text)
    if match and match[1].lower() in by_scheme:
        return by_scheme[match[1].lower()], text[match.end() :]
    if Path(text).exists():
        return _kind_named("file"), text
    if match and match.end() > 2:
        if match[1].lower() in registry.names("cameras"):
            # A plug-in that is registered but is not among the sources says here what is wrong with it.
            _kind_named(match[1].lower())
        raise unknown("kind of source", match[1], by_scheme)
    if WILD.search(text):
        return _kind_named("file"), text
    if not re.search(r"[./\\]", text):
        raise unknown("source", redacted(text), (*by_scheme, "0"))
    raise InputError(f"{redacted(text)}: no such file or folder.")


def _kind_named(name: str) -> CameraKind:
    return registry.load_as("cameras", name, CameraKind)  # type: ignore[type-abstract]


def _check(request: Request) -> None:
    size, fps, code = request.size, request.fps, request.pixel_format
    if size is not None and min(size) < 1:
        raise InputError(f"{request.shown}: the size {size[0]}x{size[1]} has no pixels.")
    if fps is not None and not 0 < fps < 1e4:
        raise InputError(f"{request.shown}: {fps} frames per second is not a usable rate.")
    if code is not None and not re.fullmatch(r"[A-Za-z0-9 ]{4}", code):
        raise InputError(f'{request.shown}: the pixel format "{code}" is not a FourCC such as MJPG or YUYV.')


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise InputError(f"size={text} is not HEIGHTxWIDTH in pixels. Write for example size=480x640.")
    return int(match[1]), int(match[2])


def _number(text: str, *, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{what}={text} is not a number.") from None


def _reconnect(give_up_s: float) -> Reconnect:
    if math.isnan(give_up_s) or give_up_s < 0:
        raise InputError(f"reconnect={give_up_s} is not a number of seconds; 0 gives up at once, inf never.")
    return Reconnect(give_up_s=give_up_s)
