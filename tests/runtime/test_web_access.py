"""The page's door: strangers starve nobody, limits are answered, tokens and TLS hold."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.errors import CameraError, InputError
from edgeseg.runtime import open_camera, web
from edgeseg.runtime.web import WebAddress, WebSink, connections, web_address

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec

TOKEN = "a-fixed-token-of-a-service"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return tiny.make_artifact(tmp_path_factory.mktemp("web") / "artifact").manifest.spec


def ask(port: int | None, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def port_of(sink: WebSink) -> int | None:
    return urlsplit(sink.url).port


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def test_head_is_answered_without_a_body(spec: ModelSpec) -> None:
    with WebSink(spec, address=WebAddress(port=0)) as sink:
        for path in ("/", "/about", "/frame", "/page.js"):
            with socket.create_connection(("127.0.0.1", port_of(sink) or 0), timeout=10) as line:
                line.sendall(f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                # http.client would pass over a body.
                head, _, body = b"".join(iter(lambda: line.recv(1 << 16), b"")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert re.search(rb"\r\nContent-Length: [1-9]\d", head)
            assert body == b""


def test_without_a_token_a_browser_gets_a_page(spec: ModelSpec, token_file: Path) -> None:
    with WebSink(spec, address=WebAddress(port=0, token_file=token_file)) as sink:
        status, body, headers = ask(port_of(sink), "/")
        assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert b"<h1>No access</h1>" in body


def test_the_token_of_a_file_is_asked_for_everywhere_and_shown_nowhere(spec: ModelSpec, token_file: Path) -> None:
    with WebSink(spec, address=WebAddress(port=0, token_file=token_file)) as sink:
        assert TOKEN not in sink.url
        assert ask(port_of(sink), "/about")[0] == 401
        assert ask(port_of(sink), f"/about?token={TOKEN}")[0] == 200
        assert ask(port_of(sink), f"/?token={TOKEN}")[0] == 303


@pytest.mark.parametrize("content", ["short", "", "with spaces in it, though long"])
def test_a_weak_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(InputError, match="at least 16"):
        WebAddress(token_file=tmp_path / "token").token()


def test_strangers_cannot_keep_viewers_out(spec: ModelSpec, token_file: Path) -> None:
    with WebSink(spec, address=WebAddress(port=0, token_file=token_file)) as sink, contextlib.ExitStack() as strangers:
        lines = [
            strangers.enter_context(socket.create_connection(("127.0.0.1", port_of(sink) or 0), timeout=3))
            for _ in range(3 * connections.MOST_STRANGERS)
        ]
        assert ask(port_of(sink), f"/about?token={TOKEN}")[0] == 200
        assert lines[0].recv(1) == b"", "the oldest makes room before its own time is up"


def test_a_viewer_too_many_is_told_so(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_VIEWERS", 1)
    monkeypatch.setattr("edgeseg.runtime.web.live_site.WAIT_S", 0.01)
    with WebSink(spec, address=WebAddress(port=0)) as sink:
        watching = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
        watching.request("GET", "/frame?after=0")
        assert watching.getresponse().read()
        status, body, headers = ask(port_of(sink), "/about")
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"limit" in body
        watching.close()


def test_the_address_as_text_is_read_again(tmp_path: Path) -> None:
    for address in (
        WebAddress(host="::1", port=9000, token_file=tmp_path / "a&b"),
        WebAddress(host="0.0.0.0", port=1, certificate=tmp_path / "c d", key=tmp_path / "k"),
    ):
        assert web_address(address.text) == address


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    path = tmp_path / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "cert.pem").read_text())
    return path


def test_the_page_is_served_over_tls(spec: ModelSpec, certificate: Path) -> None:
    with WebSink(spec, address=WebAddress(port=0, certificate=certificate)) as sink:
        assert sink.url.startswith("https://")
        silent = socket.create_connection(("127.0.0.1", port_of(sink) or 0))  # holds up nobody
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", port_of(sink), timeout=10, context=context)
        connection.request("GET", "/about")
        assert connection.getresponse().status == 200
        connection.close()
        silent.close()


def test_silent_strangers_over_tls_are_disconnected(spec: ModelSpec, certificate: Path) -> None:
    with WebSink(spec, address=WebAddress(port=0, certificate=certificate)) as sink:
        context = ssl.create_default_context(cafile=str(certificate))
        strangers = []
        for _ in range(connections.MOST_STRANGERS + 1):
            line = socket.create_connection(("127.0.0.1", port_of(sink) or 0), timeout=10)
            strangers.append(context.wrap_socket(line, server_hostname="127.0.0.1"))
        with contextlib.suppress(OSError):
            assert strangers[0].recv(1) == b"", "the oldest is hung up on"
        started = time.monotonic()
    assert time.monotonic() - started < connections.LEAVE_S * 2, "those that are left do not each cost a time limit"
    for line in strangers:
        line.close()


def test_a_cameras_own_certificate_is_one_clear_line(spec: ModelSpec, certificate: Path) -> None:
    with (
        WebSink(spec, address=WebAddress(port=0, certificate=certificate)) as sink,
        pytest.raises(CameraError, match=r"certificate is not trusted.*SSL_CERT_FILE"),
        open_camera(sink.url),
    ):
        pass


def test_files_that_are_no_certificate_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("none")
    with pytest.raises(InputError, match="TLS cannot use"):
        WebAddress(certificate=tmp_path / "cert").tls()
    with pytest.raises(InputError, match="--tls-cert"):
        WebAddress(key=tmp_path / "key").tls()


LEFT_OPEN = """
const fs = require("node:fs"), vm = require("node:vm");
const element = () => new Proxy(function () {}, {
  get: (kept, name) => name === Symbol.toPrimitive ? () => "" : kept[name] ?? element(),
  apply: element, set: () => true,
});
const asked = [];
const answer = (run, status, body) => ({
  ok: true, status, headers: { get: (name) => name === "X-Run" ? run : null }, json: async () => body,
});
const world = {
  fetch: async (path) => {
    asked.push(path);
    return path === "about" ? answer("one", 200, { classes: [], palette: [], title: "" }) : answer("two", 202, {});
  },
  document: { getElementById: element, createElement: element, body: element() }, localStorage: element(),
  location: { reload() { console.log(JSON.stringify(asked)); process.exit(0); } },
  AbortSignal, DataView, Uint32Array, Uint8Array, performance, setTimeout, setInterval: () => 0,
};
vm.runInNewContext(fs.readFileSync(process.argv[1], "utf-8"), world);
setTimeout(() => process.exit(1), 1000);
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here: apt install nodejs")
def test_a_page_left_open_is_loaded_anew_when_another_run_answers_there(spec: ModelSpec) -> None:
    runs = []
    for _ in range(2):
        with WebSink(spec, address=WebAddress(port=0)) as sink:
            runs += [ask(port_of(sink), path)[2]["x-run"] for path in ("/about", "/page.js")]
    assert [runs.count(run) for run in runs] == [2, 2, 2, 2]
    page = str(Path(web.__file__).parent / "page.js")
    found = subprocess.run(["node", "-e", LEFT_OPEN, page], capture_output=True, text=True, timeout=30, check=False)
    assert json.loads(found.stdout or "[]") == ["about", "frame?after=0"], found.stderr
