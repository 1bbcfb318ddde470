"""A network camera for tests: MJPEG over HTTP from a process of its own, each frame showing its own number.

The frames run on one clock, as a real camera's do: frame n is taken at `start_s + n / fps`, whoever looks. So a test
reads out of an image which frame it is and how old it is. The path says what is wrong with the camera:

    /cam                 nothing
    /stall?after=5       sends nothing more after 5 frames, and keeps the line open
    /drip?after=5        sends one byte every 0.1 s after 5 frames
    /hangup?after=5      closes the line after 5 frames
    /corrupt?every=3     every third image is cut in the middle
    /garbage             sends only damaged images
    /resize?after=5      frames are half as high and wide after 5
    /nolength            parts have no Content-Length
    /badlength           every third part has a wrong Content-Length
    /login               wants the user "me" with the password "secret"
    /moved               redirects to /cam
    /page                a web page

Run by hand: python mjpeg_server.py --fps 30 --port 8080
"""

from __future__ import annotations

import argparse
import base64
import http.server
import itertools
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

if TYPE_CHECKING:
    from types import TracebackType

ROWS, COLUMNS = 4, 8
BITS = 16
DARK, BRIGHT = 40, 215
SIZE = (240, 320)


def image_of(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the frame (H, W, 3) uint8: 16 bits of its number as blocks, and below them the same inverted."""
    bits = [(number >> place) & 1 for place in range(BITS)]
    cells = np.array([*bits, *(1 - bit for bit in bits)], np.uint8).reshape(ROWS, COLUMNS)
    grey = np.where(cells == 1, BRIGHT, DARK).astype(np.uint8)
    return cv2.cvtColor(cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)


def number_in(image: np.ndarray) -> int | None:
    """Return the number that a frame shows, None where it shows none; survives scaling and coding."""
    height, width = image.shape[:2]
    bits = []
    for row, column in itertools.product(range(ROWS), range(COLUMNS)):
        top, left = (4 * row + 1) * height // (4 * ROWS), (4 * column + 1) * width // (4 * COLUMNS)
        block = image[top : top + max(1, height // (2 * ROWS)), left : left + max(1, width // (2 * COLUMNS))]
        bits.append(int(block.mean() > (DARK + BRIGHT) / 2))
    if any(bit == check for bit, check in zip(bits[:BITS], bits[BITS:], strict=True)):
        return None
    return sum(bit << place for place, bit in enumerate(bits[:BITS]))


class MjpegServer:
    """A server process on this machine; `kill` is a pulled plug, `start` plugs it in again at the same address."""

    def __init__(self, *, fps: float = 30.0, size: tuple[int, int] = SIZE) -> None:
        self.fps = fps
        self.start_s = time.monotonic()
        self._size = size
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> MjpegServer:
        self.start()
        return self

    def start(self) -> None:
        """Start the process and wait until it listens."""
        sides = f"{self._size[0]}x{self._size[1]}"
        command = [sys.executable, __file__, "--port", str(self._port), "--fps", str(self.fps), "--size", sides]
        self._process = subprocess.Popen(
            [*command, "--start", str(self.start_s)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "listening"

    def kill(self) -> None:
        """End the process as a pulled plug would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def uri(self, path: str = "/cam", *, user: str = "") -> str:
        """Return the address of a path."""
        return f"http://{user}127.0.0.1:{self._port}{path}"

    def age_s(self, number: int) -> float:
        """Return how long ago the frame of that number was taken."""
        return time.monotonic() - (self.start_s + number / self.fps)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the stream that the path asks for."""

    fps = 30.0
    size = SIZE
    start_s = 0.0

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.kind = address.path
        self.asked = {key: int(values[0]) for key, values in parse_qs(address.query).items()}
        if self.kind == "/moved":
            self._head(302, Location="/cam")
        elif self.kind == "/page":
            self._head(200, Content_Type="text/html")
            self.wfile.write(b"<p>no camera</p>")
        elif self.kind == "/login" and self.headers["Authorization"] != "Basic " + _secret():
            self._head(401, WWW_Authenticate='Basic realm="camera"')
        else:
            self._head(200, Content_Type="multipart/x-mixed-replace; boundary=frame")
            self._stream()

    def _head(self, status: int, **fields: str) -> None:
        self.send_response(status)
        for key, value in fields.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def _stream(self) -> None:
        first = int((time.monotonic() - self.start_s) * self.fps) + 1
        try:
            for sent in itertools.count():
                number = first + sent
                if sent == self.asked.get("after") and self.kind != "/resize":
                    return self._broken()
                time.sleep(max(0.0, self.start_s + number / self.fps - time.monotonic()))
                self.wfile.write(self._part(sent, number))
        except OSError:
            return None

    def _broken(self) -> None:
        while self.kind == "/stall":
            time.sleep(60)
        while self.kind == "/drip":
            self.wfile.write(b"x")
            time.sleep(0.1)

    def _part(self, sent: int, number: int) -> bytes:
        late = self.kind == "/resize" and sent >= self.asked["after"]
        size = (self.size[0] // 2, self.size[1] // 2) if late else self.size
        jpeg = cv2.imencode(".jpg", image_of(number, size))[1].tobytes()
        third = sent % self.asked.get("every", 3) == 2
        if self.kind == "/garbage" or (self.kind == "/corrupt" and third):
            jpeg = jpeg[: len(jpeg) // 2]
        length = len(jpeg)
        if self.kind == "/badlength" and third:
            length += 3 * length if sent % 2 else -length // 2
        field = b"" if self.kind == "/nolength" else b"Content-Length: %d\r\n" % length
        return b"--frame\r\nContent-Type: image/jpeg\r\n" + field + b"\r\n" + jpeg + b"\r\n"

    def log_message(self, *_: object) -> None:
        return None


def _secret() -> str:
    return base64.b64encode(b"me:secret").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--size", default="240x320", metavar="HxW")
    parser.add_argument("--start", type=float, default=time.monotonic(), help="time of frame 0, monotonic seconds")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    height, width = options.size.split("x")
    Handler.fps, Handler.size, Handler.start_s = options.fps, (int(height), int(width)), options.start
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
