"""An RTSP camera for tests, through GStreamer's server library; run with a Python that has PyGObject.

Usage: python rtsp_server.py PORT [FPS]

Prints "listening START", then serves rtsp://127.0.0.1:PORT/cam (MJPEG, 160x120, 25 fps, a ball) and, given FPS,
rtsp://127.0.0.1:PORT/numbered: H.264, 320x240, each frame showing its own number as `mjpeg_server.image_of` draws it
(written again here, because the system's Python need not have numpy).
Frame n is taken at START + n / FPS on the monotonic clock, whoever looks.
"""

from __future__ import annotations

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

HEIGHT, WIDTH = 240, 320
ROWS, COLUMNS, BITS = 4, 8, 16
DARK, BRIGHT = 40, 215
BALL = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=25/1"
    " ! jpegenc ! rtpjpegpay name=pay0 )"
)
NUMBERED = (
    "( appsrc name=numbers is-live=true do-timestamp=true format=time"
    f" caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={{fps}}/1"
    " ! openh264enc complexity=low bitrate=2000000 gop-size=30 ! rtph264pay config-interval=-1 name=pay0 )"
)


def planes(number: int) -> bytes:
    """Return the I420 image of a number."""
    bits = [(number >> place) & 1 for place in range(BITS)]
    cells = [BRIGHT if bit else DARK for bit in (*bits, *(1 - bit for bit in bits))]
    rows = [cells[start : start + COLUMNS] for start in range(0, ROWS * COLUMNS, COLUMNS)]
    grey = b"".join(b"".join(bytes([cell]) * (WIDTH // COLUMNS) for cell in row) * (HEIGHT // ROWS) for row in rows)
    return grey + bytes([128]) * (HEIGHT * WIDTH // 2)


def feed(source: Gst.Element, *, fps: int, start_s: float) -> None:
    """Push each frame when it is due, until the pipeline takes no more."""
    number = int((time.monotonic() - start_s) * fps) + 1
    while True:
        time.sleep(max(0.0, start_s + number / fps - time.monotonic()))
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(planes(number))) != Gst.FlowReturn.OK:
            return
        number += 1


def on_media(_factory: object, media: GstRtspServer.RTSPMedia, fps: int, start_s: float) -> None:
    """Begin to feed a pipeline that a client asked for."""
    source = media.get_element().get_by_name("numbers")
    threading.Thread(target=feed, args=(source,), kwargs={"fps": fps, "start_s": start_s}, daemon=True).start()


def main(arguments: list[str]) -> None:
    """Serve until the process is ended."""
    start_s = time.monotonic()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments[0])
    launches = {"/cam": BALL}
    if len(arguments) > 1:
        launches["/numbered"] = NUMBERED.format(fps=int(arguments[1]))
    for path, launch in launches.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.set_shared(True)
        if path == "/numbered":
            factory.connect("media-configure", on_media, int(arguments[1]), start_s)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print(f"listening {start_s}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1:])
