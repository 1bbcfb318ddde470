"""An RTSP server in plain Python (RFC 2326) that sends H.264 (RFC 6184): every test machine has it, without GStreamer.

Frame n shows its number, as `mjpeg_server.image_of` draws it. It is served over TCP, UDP or both, and may ask for a
password.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import socketserver
import struct
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import pytest
from contracts.mjpeg_server import image_of

if TYPE_CHECKING:
    from collections.abc import Callable

av = pytest.importorskip("av", reason="PyAV makes the stream of these tests")
CLOCK, PAYLOAD, MOST_BYTES = 90_000, 96, 1200
LOGIN = "admin:p@ss/word"


def units_of(*, frames: int, fps: int) -> list[list[bytes]]:
    """Return each frame's NAL units; every tenth frame can be decoded on its own."""
    coder = av.CodecContext.create("libx264", "w")
    coder.height, coder.width, coder.pix_fmt, coder.time_base = 240, 320, "yuv420p", Fraction(1, fps)
    coder.options = {"tune": "zerolatency", "g": "10", "preset": "ultrafast"}
    packets = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(image_of(number), format="bgr24").reformat(format="yuv420p")
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    return [[unit for unit in re.split(b"\x00\x00\x00?\x01", bytes(packet)) if unit] for packet in packets]


def payloads(units: list[bytes]) -> list[bytes]:
    """Return a frame as RTP payloads: single units, and FU-A parts of those that are too long for one packet."""
    parts: list[bytes] = []
    for unit in units:
        if len(unit) <= MOST_BYTES:
            parts.append(unit)
            continue
        body = [unit[start : start + MOST_BYTES] for start in range(1, len(unit), MOST_BYTES)]
        for index, piece in enumerate(body):
            edge = (0x80 if index == 0 else 0) | (0x40 if index == len(body) - 1 else 0)
            parts.append(bytes([(unit[0] & 0xE0) | 28, edge | (unit[0] & 0x1F)]) + piece)
    return parts


class RtspServer:
    """A server on this machine; `transports` are those it grants, `login` is whether it asks for LOGIN."""

    def __init__(self, *, transports: tuple[str, ...] = ("tcp", "udp"), login: bool = False, fps: int = 25) -> None:
        self.transports, self.login, self.fps = transports, login, fps
        self.used: list[str] = []
        self.frames = units_of(frames=50, fps=fps)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.camera = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def uri(self, *, user: str = "") -> str:
        """Return the stream's address."""
        return f"rtsp://{user}127.0.0.1:{self._server.server_address[1]}/cam"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    camera: RtspServer


class _Handler(socketserver.StreamRequestHandler):
    """One client: its requests, and the frames from PLAY to the end of the connection."""

    server: _Server
    send: Callable[[bytes], object]

    def handle(self) -> None:
        self.gone, self.lock = threading.Event(), threading.Lock()
        self.player = threading.Thread(target=self._play)
        with contextlib.ExitStack() as self.opened:
            with contextlib.suppress(OSError):
                while head := self._head():
                    self._answer(*head)
            self.gone.set()
            if self.player.ident:
                self.player.join()

    def _head(self) -> tuple[str, dict[str, str]] | None:
        while (first := self.rfile.read(1)) == b"$":  # the client's RTCP report between requests
            self.rfile.read(struct.unpack(">xH", self.rfile.read(3))[0])
        if not first:
            return None
        method = (first + self.rfile.readline()).decode().split()[0]
        fields: dict[str, str] = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return method, fields

    def _answer(self, method: str, fields: dict[str, str]) -> None:
        camera = self.server.camera
        expected = "Basic " + base64.b64encode(LOGIN.encode()).decode()
        status, more, body = "200 OK", {"Session": "1"}, ""
        if camera.login and method != "OPTIONS" and fields.get("authorization") != expected:
            status, more = "401 Unauthorized", {"WWW-Authenticate": 'Basic realm="camera"'}
        elif method == "OPTIONS":
            more = {"Public": "DESCRIBE, SETUP, PLAY, TEARDOWN"}
        elif method == "DESCRIBE":
            body = "\r\n".join((
                "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 127.0.0.1", "t=0 0",
                f"m=video 0 RTP/AVP {PAYLOAD}",
                f"a=rtpmap:{PAYLOAD} H264/{CLOCK}", f"a=fmtp:{PAYLOAD} packetization-mode=1", "a=control:one", "",
            ))  # fmt: skip
            more = {"Content-Type": "application/sdp"}
        elif method == "SETUP":
            status, more = self._setup(fields.get("transport", ""))
        with self.lock:
            lines = [f"RTSP/1.0 {status}", f"CSeq: {fields.get('cseq', '0')}", f"Content-Length: {len(body)}"]
            self.wfile.write("\r\n".join((*lines, *(f"{k}: {v}" for k, v in more.items()), "", body)).encode())
        if method == "PLAY" and status == "200 OK":
            self.player.start()

    def _setup(self, asked: str) -> tuple[str, dict[str, str]]:
        kind = "tcp" if "TCP" in asked else "udp"
        if kind not in self.server.camera.transports:
            return "461 Unsupported Transport", {}
        self.server.camera.used.append(kind)
        if kind == "tcp":
            self.send = lambda packet: self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            return "200 OK", {"Session": "1", "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        port = int(asked.partition("client_port=")[2].partition("-")[0])
        outlet = self.opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        outlet.bind(("127.0.0.1", 0))
        here = outlet.getsockname()[1]
        self.send = lambda packet: outlet.sendto(packet, ("127.0.0.1", port))
        transport = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={here}-{here + 1}"
        return "200 OK", {"Session": "1", "Transport": transport}

    def _play(self) -> None:
        camera, sequence = self.server.camera, 0
        with contextlib.suppress(OSError, ValueError):
            for number in range(1 << 20):
                parts = payloads(camera.frames[number % len(camera.frames)])
                for index, part in enumerate(parts):
                    mark = 0x80 if index == len(parts) - 1 else 0
                    stamp = number * CLOCK // camera.fps
                    head = struct.pack(">BBHII", 0x80, mark | PAYLOAD, sequence & 0xFFFF, stamp & 0xFFFFFFFF, 7)
                    with self.lock:
                        self.send(head + part)
                    sequence += 1
                if self.gone.wait(1 / camera.fps):
                    return
