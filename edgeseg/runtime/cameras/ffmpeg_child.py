"""The program that decodes a stream and writes images: header, then BGR bytes.

It is a separate process because a read inside FFmpeg can block for very long, and only killing the process ends it.
The address comes through stdin, so that no process list shows its password; when stdin closes, the parent has ended,
and this process ends too.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

from edgeseg.errors import CameraError

if TYPE_CHECKING:
    from edgeseg.runtime.cameras.decoded import MediaReader

HEADER = struct.Struct("<4sIIddd")
"""Mark, height, width, time of arrival (`time.monotonic` seconds, the same in all processes), time in the video or NaN,
frames a second or 0."""
_IMAGE = b"IMAG"
CONCEALED = b"PART"
OPENED = b"OPEN"
DAMAGED = b"BAD."
ENDED = b"END."
"""The height field holds the number of announced frames that did not come."""
FAILED = b"FAIL"
"""The height field holds the length of the reason that follows, in UTF-8."""


def main(arguments: list[str]) -> int:
    """Write images to the descriptor given, until the stream ends."""
    from edgeseg.runtime.cameras.decoded import Opening
    from edgeseg.runtime.cameras.media import open_media

    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)
    with os.fdopen(int(arguments[0]), "wb", buffering=0) as pipe:
        try:
            reader = open_media(Opening(**asked))
            _send(pipe, OPENED, fps=reader.fps or 0.0)
            _send_all(pipe, reader)
        except CameraError as error:
            reason = str(error).encode()
            _send(pipe, FAILED, height=len(reason), data=reason)
            return error.exit_status
    return 0


def _send_all(pipe: object, reader: MediaReader) -> None:
    while True:
        try:
            decoded = reader.read()
        except EOFError:
            return _send(pipe, ENDED, height=reader.missing())
        if decoded is None:
            _send(pipe, DAMAGED)
            continue
        height, width = decoded.image.shape[:2]
        mark = CONCEALED if decoded.concealed else _IMAGE
        _send(pipe, mark, height=height, width=width, media_s=decoded.media_s, data=decoded.image.data)


def _send(
    pipe: object,
    mark: bytes,
    *,
    height: int = 0,
    width: int = 0,
    media_s: float | None = None,
    fps: float = 0.0,
    data: bytes | memoryview = b"",
) -> None:
    media = math.nan if media_s is None else media_s
    for part in (HEADER.pack(mark, height, width, time.monotonic(), media, fps), data):
        view = memoryview(part).cast("B")
        while view:
            view = view[pipe.write(view) :]  # type: ignore[attr-defined]


def _leave_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin: a thread that waits inside it aborts the interpreter at its end
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
