"""The page: who may see it, that a viewer never slows the loop, and that it works in a real browser."""

from __future__ import annotations

import dataclasses
import http.client
import itertools
import json
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.devtools import chromium, open_page

from edgeseg.errors import InputError
from edgeseg.runtime.sinks.base import View
from edgeseg.runtime.sinks.hud import Hud, StageTimes
from edgeseg.runtime.web import WebAddress, WebSink, web_address
from edgeseg.runtime.web.paletted import paletted_png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec

HOSTILE = "<img src=x onerror=alert(1)>"
HUD = Hud(
    title="litert int8",
    fps=30.0,
    stages_ms={"infer": StageTimes(p50_ms=4.0, p90_ms=5.0, p99_ms=6.0)},
    queues={"infer": (1, 2)},
    skipped=3,
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    found = tiny.make_artifact(tmp_path_factory.mktemp("web") / "artifact").manifest.spec
    return dataclasses.replace(found, classes=("sky", "building", "road", HOSTILE))


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def view(index: int = 0, *, level: int = 100, label: int = 2, size: tuple[int, int] = tiny.SIZE) -> View:
    image = np.full((*size, 3), level, np.uint8)
    labels = np.full(size, label, np.uint8)
    labels[: size[0] // 2] = 0
    return View(index=index, image=image, labels=labels, captured_s=time.monotonic(), frame=image, hud=HUD)


def serve(spec: ModelSpec, *, host: str = "127.0.0.1", **others: object) -> WebSink:
    return WebSink(spec, address=WebAddress(host=host, port=0), **others)  # type: ignore[arg-type]


def get(sink: WebSink, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    url = urlsplit(sink.url)
    connection = http.client.HTTPConnection("127.0.0.1", url.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def parts(message: bytes) -> list[bytes]:
    found = []
    while message:
        (length,) = struct.unpack(">I", message[:4])
        found.append(message[4 : 4 + length])
        message = message[4 + length :]
    return found


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8090", "127.0.0.1", 8090),
        ("0.0.0.0:80", "0.0.0.0", 80),
        (":8081", "0.0.0.0", 8081),
        ("[::1]:9000", "::1", 9000),
        ("pi.local", "pi.local", 8080),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert web_address(text) == WebAddress(host=host, port=port)


@pytest.mark.parametrize("text", ["", "a b:1", "host:port", "127.0.0.1:70000", "http://x:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--web"):
        web_address(text)


def test_a_frame_holds_figures_image_and_exact_labels(spec: ModelSpec) -> None:
    with serve(spec) as sink:
        sink.write(view(7))
        status, body, headers = get(sink, "/frame?after=0")
    figures, jpeg, png = parts(body)
    assert status == 200
    assert headers["x-frame"] == "1"
    told = json.loads(figures)
    assert (told["frame"], told["skipped"], told["queues"], told["areas"]) == (
        7,
        3,
        {"infer": [1, 2]},
        [0.5, 0, 0.5, 0],
    )
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (*tiny.SIZE, 3)
    colored = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(colored, np.array(tiny.PALETTE, np.uint8)[view().labels][:, :, ::-1])


def test_every_viewer_is_counted(spec: ModelSpec) -> None:
    with serve(spec) as sink:
        sink.write(view(1))
        watching = http.client.HTTPConnection("127.0.0.1", urlsplit(sink.url).port, timeout=20)
        watching.request("GET", "/frame?after=0")
        answer = watching.getresponse()
        assert answer.read()
        assert answer.getheader("X-Viewers") == "1"
        assert get(sink, "/frame?after=0")[2]["x-viewers"] == "2"
        watching.close()


def test_the_page_and_its_parts_are_the_devices_own(spec: ModelSpec) -> None:
    with serve(spec) as sink:
        for path in ("/", "/base.css", "/page.css", "/page.js", "/about"):
            status, body, headers = get(sink, path)
            assert status == 200
            assert b"https://" not in body
            assert "default-src 'none'" in headers["content-security-policy"]
        assert get(sink, "/../../etc/passwd")[0] == 404
        assert get(sink, "/frame?after=-1")[0] == 400
        assert json.loads(get(sink, "/about")[1])["classes"][3] == HOSTILE


def test_beyond_this_machine_a_token_is_needed(spec: ModelSpec) -> None:
    with serve(spec, host="0.0.0.0") as sink:
        token = sink.url.partition("?token=")[2]
        assert len(token) >= 24
        for path in ("/", "/frame", "/about", "/page.js", "/?token=wrong", "/?token=%ff"):
            assert get(sink, path)[0] == 401, path
        status, _, headers = get(sink, f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in headers["set-cookie"]
        cookie = headers["set-cookie"].split(";")[0]
        assert get(sink, "/about", Cookie=cookie)[0] == 200
        assert get(sink, "/about", Cookie=cookie[:-1])[0] == 401


def test_on_this_machine_a_foreign_name_is_not_answered(spec: ModelSpec) -> None:
    with serve(spec) as sink:
        assert "token" not in sink.url
        assert get(sink, "/about", Host="rebound.example:80")[0] == 421
        assert get(sink, "/about", Host="localhost:80")[0] == 200


def test_a_viewer_that_does_not_read_holds_up_neither_the_loop_nor_others(spec: ModelSpec) -> None:
    noise = np.random.default_rng(1).integers(0, 4, (720, 960)).astype(np.uint8)
    with serve(spec) as sink:
        port = urlsplit(sink.url).port
        asleep = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for connection in asleep:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /frame?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        started_s = time.monotonic()
        for index in range(200):
            sink.write(dataclasses.replace(view(index, size=noise.shape), labels=noise))
        assert time.monotonic() - started_s < 5
        number = int(get(sink, "/frame?after=0")[2]["x-frame"])
        assert number >= 1
        assert int(get(sink, f"/frame?after={min(number, 199)}")[2]["x-frame"]) == 200
    for connection in asleep:
        connection.close()


def test_without_frames_the_page_is_told_why(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.runtime.web.live_site.WAIT_S", 0.05)
    with serve(spec, trouble=lambda: "camera 0: unplugged. Reconnecting.") as sink:
        status, body, _ = get(sink, "/frame?after=0")
    assert status == 202
    assert "unplugged" in json.loads(body)["trouble"]


def test_a_port_in_use_is_told(spec: ModelSpec) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = WebAddress(port=taken.getsockname()[1])
        with pytest.raises(InputError, match="--web HOST:PORT"), WebSink(spec, address=address):
            pass


def test_labels_beyond_the_palette_are_transparent() -> None:
    labels = np.array([[0, 255, 3]], np.uint8)
    decoded = cv2.imdecode(np.frombuffer(paletted_png(labels, palette=tiny.PALETTE), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded[0, :, 3].tolist() == [255, 0, 255]


BROWSER = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt install chromium")


@BROWSER
def test_the_page_works_in_a_browser(spec: ModelSpec, tmp_path: Path) -> None:
    with serve(spec, title="tiny") as sink:
        sink.write(view(1))
        with open_page(sink.url, folder=tmp_path / "profile", size=(390, 844), mobile=True) as page:
            page.until("document.body?.dataset.frame === '1'")
            assert page.until("$('status').textContent === 'Live' && 'Live'") == "Live"
            assert page.value("[...document.querySelectorAll('.name')].map((e) => e.textContent)") == list(spec.classes)
            assert page.value("document.querySelectorAll('li img').length") == 0
            assert page.value("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off on a phone"
            road = "[...pen.getImageData(10, 60, 1, 1).data].slice(0, 3)"
            blended = [round(0.45 * 100 + 0.55 * level) for level in tiny.PALETTE[2]]
            np.testing.assert_allclose(page.value(road), blended, atol=4)

            page.value("document.querySelectorAll('li button')[2].click()")
            page.until(f"{road}.every((level) => Math.abs(level - 100) < 5)")
            assert page.value("document.querySelectorAll('li button')[2].getAttribute('aria-checked')") == "false"
            sink.write(view(2, level=50))
            page.until("document.body.dataset.frame === '2'")
            np.testing.assert_allclose(page.value(road), [50, 50, 50], atol=4)

            page.value("document.getElementById('all').click()")
            page.value("$('opacity').value = 100; $('opacity').dispatchEvent(new Event('input'))")
            page.until(f"{road}.every((level, i) => Math.abs(level - {list(tiny.PALETTE[2])}[i]) < 4)")
            assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(244, 245, 247)"
            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            page.ask("Emulation.setEmulatedMedia", features=dark)
            page.until("getComputedStyle(document.body).backgroundColor === 'rgb(13, 16, 20)'")
            saved = "new Promise((done) => canvas.toBlob((blob) => done(blob.size > 100 && blob.type)))"
            assert page.value(saved) == "image/png"
            sink.__exit__(None, None, None)
            page.until("document.getElementById('status').textContent === 'Disconnected'")


@pytest.mark.slow
@BROWSER
def test_a_page_whose_device_freezes_turns_grey_and_says_how_old_its_image_is(spec: ModelSpec, tmp_path: Path) -> None:
    with serve(spec) as sink:
        sink.write(view(1))
        with open_page(sink.url, folder=tmp_path / "profile") as page:
            page.until("document.body?.dataset.frame === '1'")
            page.until("document.getElementById('status').textContent === 'Live'")
            page.until("document.getElementById('viewers').textContent === '1'")
            assert page.value("document.body.dataset.stale") in (None, "false")
            # Nothing comes any more, and no error either.
            page.until("document.body.dataset.stale === 'true'")
            assert page.value("document.getElementById('status').textContent") in ("Stale", "Waiting")
            page.until("/^This image is [0-9]+ s old\\.$/.test(document.getElementById('stale').textContent)")
            assert "grayscale(1)" in str(page.value("getComputedStyle(canvas).filter"))
            sink.write(view(2))
            page.until("document.body.dataset.stale === 'false'")
            page.until("document.getElementById('status').textContent === 'Live'")
            assert page.value("getComputedStyle(canvas).filter") == "none"


@pytest.mark.slow
@BROWSER
def test_a_page_whose_device_never_responds_says_so(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.runtime.web.live_site.WAIT_S", 60.0)
    with serve(spec) as sink:
        sink.write(view(1))
        with open_page(sink.url, folder=tmp_path / "profile") as page:
            page.until("document.body?.dataset.frame === '1'")
            page.until("document.getElementById('status').textContent === 'Disconnected'")


@pytest.mark.slow
@BROWSER
def test_a_page_counts_the_viewers(spec: ModelSpec, tmp_path: Path) -> None:
    with serve(spec) as sink:
        sink.write(view(1))
        parts = urlsplit(sink.url)
        with open_page(sink.url, folder=tmp_path / "profile") as page:
            page.until("document.body?.dataset.frame === '1'")
            page.until("document.getElementById('viewers').textContent === '1'")
            other = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
            other.request("GET", f"{parts.path}frame?after=0")
            assert other.getresponse().read()
            numbers = itertools.count(2)
            for viewers in ("2", "1"):
                # A page asks for a frame before it is there, so the count is that of the frame before.
                for _ in range(200):
                    sink.write(view(next(numbers)))
                    if page.value("document.getElementById('viewers').textContent") == viewers:
                        break
                    time.sleep(0.1)
                else:
                    pytest.fail(f"the page never counts {viewers}")
                other.close()
