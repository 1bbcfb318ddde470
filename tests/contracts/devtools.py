"""A browser for tests: headless Chromium over its DevTools protocol, with a WebSocket client in plain Python."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_S = 60.0
ANSWER_S = 30.0


def chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def open_page(
    url: str,
    *,
    folder: Path,
    size: tuple[int, int] = (1280, 860),
    mobile: bool = False,
    flags: tuple[str, ...] = ("--disable-gpu",),
) -> Iterator[Page]:
    """Yield a page that is open at `url` in a browser of its own, which ends with the block; `flags` are Chromium's."""
    command = [
        chromium() or NAMES[0], "--headless=new", "--no-sandbox", *flags, "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = None
    try:
        port = _port(folder / "DevToolsActivePort")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": mobile}
        page.ask("Emulation.setDeviceMetricsOverride", **metrics)
        page.ask("Page.navigate", url=url)
        yield page
    finally:
        if page is not None:
            page.close()
        process.terminate()
        process.wait(timeout=START_S)


class Page:
    """One page of the browser."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ANSWER_S)
        self._stream = self._socket.makefile("rb")
        self._last = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while self._stream.readline().strip():
            pass

    def ask(self, method: str, **params: object) -> dict:
        """Return a command's result."""
        self._last += 1
        self._send(json.dumps({"id": self._last, "method": method, "params": params}).encode())
        while True:
            answer = json.loads(self._receive())
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, script: str) -> object:
        """Return what a script evaluates to, awaited where it is a promise."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> object:
        """Return the first true value of a script; fails after half a minute."""
        deadline_s = time.monotonic() + ANSWER_S
        while not (found := self.value(script)):
            assert time.monotonic() < deadline_s, f"never true: {script}"
            time.sleep(0.05)
        return found

    def screenshot(self, path: Path, *, kind: str = "png", quality: int | None = None) -> None:
        """Write what the page shows."""
        extra = {} if quality is None else {"quality": quality}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format=kind, **extra)["data"]))

    def close(self) -> None:
        """Leave."""
        self._stream.close()
        self._socket.close()

    def _send(self, payload: bytes) -> None:
        # RFC 6455: a client's frames are masked; final text frame is 0x81.
        long = struct.pack("!BQ", 0x80 | 127, len(payload))
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(b"\x81" + long + mask + masked)

    def _receive(self) -> bytes:
        message = b""
        while True:
            first, second = self._stream.read(2)
            length = second & 127
            if length >= 126:
                length = int.from_bytes(self._stream.read(2 if length == 126 else 8), "big")
            message += self._stream.read(length)
            if first & 0x80:
                return message


def _port(path: Path) -> int:
    deadline_s = time.monotonic() + START_S
    while not (path.is_file() and path.read_text().count("\n") >= 1):
        assert time.monotonic() < deadline_s, "the browser does not start"
        time.sleep(0.05)
    return int(path.read_text().splitlines()[0])
