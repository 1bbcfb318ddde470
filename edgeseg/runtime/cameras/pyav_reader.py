"""PyAV: FFmpeg's own libraries, with each packet's errors, times and rotation."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.decoded import (
    FAILURES_IN_A_ROW,
    LIVE_OPTIONS,
    OPTIONS,
    Decoded,
    MediaClock,
    Opening,
    refuse_giant,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av
    from numpy.typing import NDArray

TS_DISCONT = 0x200
"""FFmpeg's AVFMT_TS_DISCONT: a kind of file in which times may jump."""
NEAR_END = 1.5
"""A video that ends this many frames before its duration still counts as complete."""


class PyAvReader:
    """One opened video."""

    def __init__(self, opening: Opening) -> None:
        import av

        self._shown = opening.shown
        self._live = opening.live
        begin_s = time.monotonic()
        try:
            self._container = av.open(
                opening.uri, options=_options(live=opening.live), timeout=(opening.open_s, opening.stall_s)
            )
        except (av.error.FFmpegError, ValueError) as error:
            reason = reason_of(error)
            # FFmpeg calls the answer of a silent RTSP camera invalid data.
            if opening.open_s is not None and time.monotonic() - begin_s >= opening.open_s:
                reason = f"no response within {opening.open_s:g} s"
            raise CameraError(f"{opening.shown}: does not open as a video: {reason}.") from None
        try:
            self._stream = self._video_stream(opening)
        except CameraError:
            self._container.close()
            raise
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate and 0 < rate <= 1000 else None
        self._packets = self._demuxed()
        self._images: deque[av.VideoFrame] = deque()
        self._seen = self._broken = 0
        self._clock = MediaClock(fps=self.fps, jumps=bool(self._container.format.flags & TS_DISCONT))
        self._begin_s: float | None = None
        self._end_s = 0.0

    def _video_stream(self, opening: Opening) -> av.VideoStream:
        import av

        if not self._container.streams.video:
            raise CameraError(f"{opening.shown}: holds no video.")
        stream = self._container.streams.video[0]
        try:
            stream.thread_type = "SLICE" if opening.live else "AUTO"
            stream.codec_context.thread_count = opening.threads
        except (av.error.FFmpegError, AttributeError):  # a codec that FFmpeg here does not know
            raise CameraError(f"{opening.shown}: no decoder for its video codec.") from None
        refuse_giant(stream.codec_context.height, stream.codec_context.width, shown=opening.shown)
        return stream

    def read(self) -> Decoded | None:
        """Return the next image, None for a corrupt one; raises `EOFError` at the end, `CameraError` when lost."""
        import av

        while not self._images:
            packet = self._next_packet()
            corrupt_before, self._broken = bool(self._broken), 0
            try:
                self._images.extend(packet.decode())
            except av.error.EOFError:
                raise EOFError from None
            except av.error.MemoryError:
                raise CameraError(f"{self._shown}: not enough memory to decode it.") from None
            except av.error.FFmpegError:
                return None
            finally:
                self._seen += packet.size > 0
            if corrupt_before and packet.size:
                return None
        return self._decoded(self._images.popleft())

    def missing(self) -> int:
        """Return how many frames that the container announced were missing."""
        announced, duration_s = self._stream.frames, self._duration_s()
        if self._live or duration_s is None or self.fps is None:
            return 0
        lost = (duration_s - self._end_s) * self.fps
        if lost < NEAR_END:
            return 0
        return max(0, announced - self._seen) if announced else round(lost)

    def close(self) -> None:
        """Release the decoder."""
        self._container.close()

    def _demuxed(self) -> Iterator[av.Packet[Any]]:
        return iter(self._container.demux(self._stream))

    def _next_packet(self) -> av.Packet[Any]:
        import av

        for _ in range(FAILURES_IN_A_ROW):
            try:
                return next(self._packets)
            except StopIteration:
                break
            except av.error.InvalidDataError:
                self._broken += 1
                self._packets = self._demuxed()
            except av.error.FFmpegError as error:
                if not self._live and isinstance(error, EOFError):
                    break
                raise CameraError(f"{self._shown}: {reason_of(error)}.") from None
        raise EOFError

    def _duration_s(self) -> float | None:
        """Return when the video itself ends; a container's duration may be that of its audio."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        only = len(self._container.streams) == 1
        return self._container.duration / 1e6 if only and self._container.duration else None

    def _decoded(self, frame: av.VideoFrame) -> Decoded:
        refuse_giant(frame.height, frame.width, shown=self._shown)
        time_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if time_s is not None:
            self._begin_s = time_s if self._begin_s is None else self._begin_s
            time_s -= self._begin_s
            # Where the rate varies, the last image may be shown for long.
            lasts_s = float((frame.duration or 0) * (frame.time_base or 0))
            self._end_s = max(self._end_s, time_s + max(lasts_s, 1 / (self.fps or 1000)))
            time_s = self._clock.shown(time_s)
        image = np.asarray(frame.to_ndarray(format="bgr24", threads=1), np.uint8)
        return Decoded(image=_upright(image, frame.rotation), media_s=time_s, concealed=bool(frame.is_corrupt))


def reason_of(error: Exception) -> str:
    """Return FFmpeg's reason for a failure in plain words, without the address."""
    import av

    known: tuple[tuple[type[Exception], str], ...] = (
        (av.error.HTTPUnauthorizedError, "the user name or password is wrong"),
        (av.error.HTTPForbiddenError, "the server denies access to this user"),
        (av.error.HTTPNotFoundError, "the server has nothing at this path"),
        (av.error.InvalidDataError, "damaged, empty, or not a known kind of video"),
        (av.error.ExitError, "no response in time"),
        (av.error.TimeoutError, "no response in time"),
        (av.error.ConnectionRefusedError, "connection refused"),
    )
    for kind, words in known:
        if isinstance(error, kind):
            return words
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _options(*, live: bool) -> dict[str, str]:
    if not live:
        return {}
    pairs = (pair.partition(";") for pair in os.environ.get(OPTIONS, LIVE_OPTIONS).split("|"))
    return {key: value for key, _, value in pairs if key}


def _upright(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    import cv2

    turns = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
    turn = turns.get(degrees % 360)
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)
