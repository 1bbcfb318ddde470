"""Videos through PyAV: H.264 with the frames' own times, in a file that is playable at any moment."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from edgeseg.errors import InputError
from edgeseg.runtime.cameras.pyav_reader import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import av
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (".mp4", ".mkv")
TICKS = 90_000
CONTAINER = {
    # Fragments until the end, then rewritten as an ordinary file: a cut-off file plays, a finished one seeks. One a
    # frame, because media time says nothing of how long a slow loop takes for it.
    ".mp4": {"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1"},
    ".mkv": {"cluster_size_limit": "1", "flush_packets": "1"},
}
H264_ENCODER, OLDER_ENCODER = "libx264", "mpeg4"
# The loop's rate matters more than the last percent of size; no frame is delayed for lookahead.
H264_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}


class PyAvWriter:
    """Writes images of one size (height, width) at times in seconds; `fps` is a hint about their rate."""

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float) -> None:
        import av

        codec = H264_ENCODER if H264_ENCODER in av.codecs_available else OLDER_ENCODER
        self.notice = (
            "" if codec == H264_ENCODER else "This PyAV has no H.264 encoder: browsers and phones will not play this."
        )
        self._last = -1
        try:
            self._container = av.open(str(path), "w", options=CONTAINER[path.suffix.lower()])
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"{path}: cannot be written as a video: {reason_of(error)}.") from None
        try:
            self._stream = self._added(codec, size=size, fps=fps)
            # Opens the file and the encoder: otherwise what they refuse shows at the first image.
            self._container.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()
            raise InputError(
                f"{path}: cannot be written as a video of {size[0]}x{size[1]} by {codec}: {reason_of(error)}. "
                "Try .avi, or smaller images: --size HEIGHTxWIDTH."
            ) from None

    def _added(self, codec: str, *, size: tuple[int, int], fps: float) -> av.VideoStream:
        options = H264_OPTIONS if codec == H264_ENCODER else {}
        added = self._container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream = cast("av.VideoStream", added)
        stream.height, stream.width = size
        odd = any(side % 2 for side in size)
        # 4:2:0 stores colour for two pixels each way. MPEG-4 rounds up by itself, H.264 does not take odd sides.
        stream.pix_fmt = "yuv444p" if odd and codec == H264_ENCODER else "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = Fraction(1, TICKS if codec == H264_ENCODER else 1000)
        context.gop_size = max(1, round(fps))
        return stream

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append an image (H, W, 3) BGR; raises `OSError` if it cannot be written."""
        import av

        base = self._stream.codec_context.time_base
        with _as_os_error():
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=self._stream.pix_fmt, threads=1)
            frame.pts = self._last = max(self._last + 1, round(time_s / base))
            frame.time_base = base
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; raises `OSError` if that fails."""
        with _as_os_error():
            try:
                self._container.mux(self._stream.encode())
            finally:
                self._container.close()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise FFmpeg's errors as `OSError`, which only some of them are."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OSError(error.errno, reason_of(error)) from None
