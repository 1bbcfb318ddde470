"""The program that reads a stream through OpenCV's FFMPEG and writes images: header, then BGR bytes.

It is a program of its own because a read inside FFMPEG can wait for longer than anybody wants to, and nothing but the
end of its process ends it. The address comes in through stdin, where no list of processes shows its password; when
stdin closes, whoever started it has gone, and it goes too.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time

HEADER = struct.Struct("<4sIIdd")
"""Mark, height, width, time of arrival (`time.monotonic` seconds, the same in all processes), frames a second or 0."""
MARK = b"EDGF"
OPENED = b"OPEN"
DAMAGED = b"BAD."
REFUSED = 3


def main(arguments: list[str]) -> int:
    """Write images to the descriptor given, until the stream ends; 3 where it does not open."""
    from edgeseg.runtime.cameras.capture import open_capture, rate_of

    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)
    limits = {cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: asked["open_ms"], cv2.CAP_PROP_READ_TIMEOUT_MSEC: asked["stall_ms"]}
    capture = open_capture(asked["uri"], backend=cv2.CAP_FFMPEG, parameters=limits)
    if capture is None:
        return REFUSED
    fps = rate_of(capture)
    with os.fdopen(int(arguments[0]), "wb", buffering=0) as pipe:
        _write_all(pipe, HEADER.pack(OPENED, 0, 0, time.monotonic(), fps))
        while capture.grab():
            arrived_s = time.monotonic()
            good, image = capture.retrieve()
            if good and image is not None:
                _write_all(pipe, HEADER.pack(MARK, image.shape[0], image.shape[1], arrived_s, fps))
                _write_all(pipe, image.data)
            else:
                _write_all(pipe, HEADER.pack(DAMAGED, 0, 0, arrived_s, fps))
    return 0


def _write_all(pipe: object, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[pipe.write(view) :]  # type: ignore[attr-defined]


def _leave_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin: a thread that waits inside it aborts the interpreter at its end
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
