"""A camera at an http(s) address: its kind is known only from the response."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.decoded import Opening
from edgeseg.runtime.cameras.every_frame import Recording
from edgeseg.runtime.cameras.feed import OPEN_S, CameraImage, Feed
from edgeseg.runtime.cameras.ffmpeg_feed import FfmpegFeed, FfmpegReader, MediaFeed
from edgeseg.runtime.cameras.http_feed import HttpFeed, OtherContent
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.media import open_media

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from edgeseg.core.protocols import Camera, CameraCounts, Frame
    from edgeseg.runtime.cameras.address import Address
    from edgeseg.runtime.cameras.decoded import MediaReader
    from edgeseg.runtime.cameras.source import Request

END_OF_LIST = "#EXT-X-ENDLIST"
VARIANT = re.compile(r"^#EXT-X-STREAM-INF.*\r?\n\s*([^#\s].*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A network source: its address, the request, and the seconds of silence after which it counts as lost."""

    address: Address
    request: Request
    stall_s: float

    def live(self, make: Callable[[], Feed]) -> LiveCamera:
        """Return a live camera on the feeds that `make` gives."""
        return LiveCamera(
            make,
            name=self.address.shown,
            size=self.request.size,
            fps=self.request.fps,
            reconnect=self.request.reconnect,
            stall_s=self.stall_s,
        )

    def recording(self, address: Address) -> Recording:
        """Return a camera on every frame of a file or playlist that has an end."""
        return Recording(
            lambda: self._reader(address), name=self.address.shown, size=self.request.size, fps=self.request.fps
        )

    def feed(self, address: Address) -> Feed:
        """Return a feed through FFmpeg: in its own process where the system can wait on pipes."""
        opening = self._opening(address, live=True)
        return FfmpegFeed(opening) if os.name == "posix" else MediaFeed(opening)

    def _reader(self, address: Address) -> MediaReader:
        opening = self._opening(address, live=False)
        return FfmpegReader(opening).open() if os.name == "posix" else open_media(opening)

    def _opening(self, address: Address, *, live: bool) -> Opening:
        return Opening(uri=address.full(), shown=self.address.shown, live=live, open_s=OPEN_S, stall_s=self.stall_s)


class HttpCamera:
    """MJPEG, another live stream, or a file or playlist with an end, depending on the server's response on entry."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._opened: HttpFeed | None = None
        self._camera: Camera = stream.live(self._make)
        self.live, self.fps = self._camera.live, self._camera.fps

    @property
    def skipped(self) -> int:
        """Return `counts.skipped`."""
        return self._camera.skipped

    @property
    def counts(self) -> CameraCounts:
        """What became of the frames so far."""
        return self._camera.counts

    @property
    def trouble(self) -> str:
        """Why no frame is coming now, or an empty text."""
        return self._camera.trouble

    def __enter__(self) -> HttpCamera:
        feed = HttpFeed(self._stream.address, stall_s=self._stream.stall_s)
        try:
            feed.open()
            self._opened = feed
        except OtherContent as other:
            feed.close()
            if self._has_an_end(other):
                self._camera = self._stream.recording(other.address)
        except BaseException:
            feed.close()
            raise
        self._camera.__enter__()
        self.live, self.fps = self._camera.live, self._camera.fps
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; raises `CameraError` where the source is lost for good."""
        return self._camera.frames()

    def stop(self) -> None:
        """End the frames at once; from any thread."""
        self._camera.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._camera.__exit__(kind, error, trace)

    def _make(self) -> Feed:
        opened, self._opened = self._opened, None
        return HttpOrFfmpeg(self._stream, opened=opened)

    def _has_an_end(self, other: OtherContent) -> bool:
        if not other.text:
            return bool(other.length) and other.kind.startswith(("video/", "application/octet-stream"))
        variant = VARIANT.search(other.text)
        if variant is None:
            return END_OF_LIST in other.text
        inner = HttpFeed(other.address.moved(urljoin(other.address.uri, variant[1])), stall_s=self._stream.stall_s)
        try:
            inner.open()
        except OtherContent as list_of_parts:
            return END_OF_LIST in list_of_parts.text
        except CameraError:  # FFmpeg will report what is wrong
            return False
        finally:
            inner.close()
        return False


class HttpOrFfmpeg:
    """MJPEG through our own reader; any other video at the same address through FFmpeg."""

    fps: float | None = None

    def __init__(self, stream: Stream, *, opened: HttpFeed | None = None) -> None:
        self._stream = stream
        self._is_open = opened is not None
        self._feed: Feed = opened or HttpFeed(stream.address, stall_s=stream.stall_s)
        self._stopped = False

    def open(self) -> None:
        """Connect; raises `CameraError`."""
        if self._is_open:
            return
        try:
            self._feed.open()
        except OtherContent as other:
            self._feed.close()
            self._feed = self._stream.feed(other.address)
            if self._stopped:
                raise CameraError(f"{self._stream.address.shown}: was closed.") from None
            try:
                self._feed.open()
            except CameraError as error:
                raise CameraError(f"{other} {error}") from None
            self.fps = self._feed.fps

    def read(self) -> CameraImage | None:
        """Return the next image, or None for a corrupt one."""
        return self._feed.read()

    def interrupt(self) -> None:
        """Hang up."""
        self._stopped = True
        self._feed.interrupt()

    def close(self) -> None:
        """Hang up and free everything."""
        self._feed.close()
