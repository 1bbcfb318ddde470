"""`edgeseg serve`: what the desk sends to browsers, and what it accepts from them."""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import re
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.bench import read_measurement
from edgeseg.bench.samples import summarise
from edgeseg.cli.main import main
from edgeseg.core.artifact import open_artifact
from edgeseg.core.receipt import read_receipts
from edgeseg.devices.browser import BenchSite, Received, offer_of, own_certificate
from edgeseg.devices.browser.judging import judge_run
from edgeseg.errors import ArtifactError, EdgesegError, GateError, InputError, RecipeError, UnsupportedError
from edgeseg.pixels import prepare
from edgeseg.runtime.web import WebAddress
from edgeseg.runtime.web.server import start_server
from edgeseg.toolchains import find_toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token-of-24-characters"
RUNS = 200
VERSIONS = {"litertjs": "2.5.3", "onnxruntime-web": "1.30.0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("serve") / "tiny-tflite").folder


@dataclass(frozen=True)
class Desk:
    port: int
    out: Path
    received: list[Received]


@pytest.fixture
def desk(folder: Path, tmp_path: Path) -> Iterator[Desk]:
    tool = find_toolchain("web")
    for name in tool.files:
        (tmp_path / "runtime" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runtime" / name).write_text("engine")
    received: list[Received] = []
    site = BenchSite(
        offer_of([folder]), tool=tool, runtime=tmp_path / "runtime", out=tmp_path / "results",
        on_received=received.append,
    )  # fmt: skip
    server, url = start_server(site, address=WebAddress(port=0), token=TOKEN)
    yield Desk(port=urlsplit(url).port or 0, out=tmp_path / "results", received=received)
    server.close()


def ask(
    port: int, path: str, *, body: bytes | None = None, kind: str = "application/octet-stream", token: str = TOKEN
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Cookie": f"edgeseg_{port}={token}", **({} if body is None else {"Content-Type": kind})}
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def logits(folder: Path) -> np.ndarray:
    """Return what a browser's engine gives for the golden image."""
    manifest = open_artifact(folder).manifest
    image = cv2.imread(str(folder / manifest.golden.image))
    return tiny.logits_of(prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0]))


def ticks(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(10_000, 90_000, (RUNS, 3)).astype("<u4")


def record(folder: Path, *, times: np.ndarray | None = None, ages: np.ndarray | None = None) -> dict[str, Any]:
    """Return the JSON of an honest run, as the page posts it."""
    artifact = open_artifact(folder)
    golden, entry = artifact.manifest.golden, artifact.manifest.entry
    run: dict[str, Any] = {
        "schema": 1,
        "artifact_sha256": artifact.sha256,
        "model_sha256": hashlib.sha256((folder / entry).read_bytes()).hexdigest(),
        "device": {"name": "Ada's phone", "browser": "Chrome 156", "system": "Android 16", "architecture": "arm",
                   "cores": 8},
        "engine": "litertjs", "accelerator": "wasm", "threads": 4,
        "inputs_sha256": [sample.input_sha256 for sample in golden.samples],
    }  # fmt: skip
    if times is None:
        return run
    columns = {name: times[:, index] / 1e4 for index, name in enumerate(("preprocess", "infer", "decode"))}
    columns["total"] = times.sum(axis=1) / 1e4
    if ages is not None:
        columns["frame_age"] = ages / 1e4
    figures = {name: summarise(name, column) for name, column in columns.items()}
    run["timing"] = {
        "runs": len(times), "warmup": 12, "settled": True, "elapsed_ms": float(times.sum() / 1e4 + 20),
        "clock_ms": 0.005, "images": "golden" if ages is None else "camera", "image_size": [64, 96],
        "percentiles": {name: [item.p50_ms, item.p90_ms, item.p99_ms] for name, item in figures.items()},
    }  # fmt: skip
    return run


def message(run: dict[str, Any], *rest: np.ndarray | bytes) -> bytes:
    parts = [json.dumps(run).encode(), *(part if isinstance(part, bytes) else part.tobytes() for part in rest)]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def refused(folder: Path, posted: bytes) -> EdgesegError:
    with pytest.raises(EdgesegError) as caught:
        judge_run(posted, offer_of([folder]), versions=VERSIONS)
    return caught.value


def test_the_page_and_the_engines_come_isolated_and_only_with_the_token(desk: Desk, folder: Path) -> None:
    sha256 = open_artifact(folder).sha256
    assert ask(desk.port, "/about", token="wrong")[0] == 401
    assert ask(desk.port, "/runs", token="wrong", body=b"")[0] == 401
    status, body, headers = ask(desk.port, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert "'unsafe-inline'" not in headers["content-security-policy"]
    assert "'unsafe-eval'" not in headers["content-security-policy"]
    assert b"https://" not in body
    for sheet in re.findall(rb'href="([^"]+[.]css)"', body):
        status, _, headers = ask(desk.port, f"/{sheet.decode()}")
        assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8"), sheet
    status, body, headers = ask(desk.port, "/runtime/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm")
    assert (status, body, headers["content-type"]) == (200, b"engine", "application/wasm")
    status, body, _ = ask(desk.port, f"/artifacts/{sha256}/model.tflite")
    assert (status, body) == (200, (folder / "model.tflite").read_bytes())
    offered = json.loads(ask(desk.port, "/about")[1])["artifacts"][0]
    assert offered["model"]["sha256"] == hashlib.sha256(body).hexdigest()
    for path in (f"/artifacts/{sha256}/manifest.json", f"/artifacts/{sha256}/../x", "/runtime/installed.json", "/x.py",
                 f"/artifacts/{sha256}/golden/expected.png", "/certificate.crt"):  # fmt: skip
        assert ask(desk.port, path)[0] == 404, path


def test_a_run_becomes_a_measurement_that_compare_reads_and_a_receipt(
    desk: Desk, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = ticks()
    status, body, _ = ask(desk.port, "/runs", body=message(record(folder, times=times), logits(folder), times))
    assert status == 200, body
    reply = json.loads(body)
    assert (reply["agreement"], reply["min_agreement"]) == (1.0, 0.995)
    found = read_measurement(desk.out / reply["record"])
    assert (found.device.name, found.engine, found.engine_version, found.threads) == (
        "Ada's phone", "litertjs", "2.5.3", 4,
    )  # fmt: skip
    assert found.artifact_sha256 == open_artifact(folder).sha256
    assert found.label_agreement == 1.0
    infer = found.stage("infer")
    assert infer is not None
    assert infer.p99_ms == pytest.approx(np.percentile(times[:, 1] / 1e4, 99), abs=1e-3)
    receipts = read_receipts(folder, artifact_sha256=found.artifact_sha256)
    assert [(item.device, item.agreement) for item in receipts][-1] == ("Ada's phone", 1.0)
    assert desk.received[-1].kind == "measured"
    assert main(["compare", str(desk.out)]) == 0
    assert "Ada's phone" in capsys.readouterr().out


def test_runs_on_a_camera_bring_the_age_of_their_frames(folder: Path) -> None:
    times, ages = ticks(), ticks(2).sum(axis=1).astype("<u4")
    judged = judge_run(
        message(record(folder, times=times, ages=ages), logits(folder), times, ages), offer_of([folder]),
        versions=VERSIONS,
    )  # fmt: skip
    assert judged.measurement is not None
    age = judged.measurement.frame_age
    assert age is not None
    assert age.p50_ms == pytest.approx(np.median(ages) / 1e4, abs=1e-3)
    assert judged.measurement.engine_options["images"] == "camera"


def test_golden_samples_alone_bring_a_receipt_only(desk: Desk, folder: Path) -> None:
    status, body, _ = ask(desk.port, "/runs", body=message(record(folder), logits(folder)))
    assert status == 200
    assert json.loads(body)["record"] is None
    assert not desk.out.exists()
    assert desk.received[-1].kind == "verified"


def test_other_labels_than_the_golden_ones_are_refused_and_leave_no_file(desk: Desk, folder: Path) -> None:
    before = sorted((folder / "receipts").glob("*")) if (folder / "receipts").is_dir() else []
    times = ticks()
    posted = message(record(folder, times=times), -logits(folder), times)
    status, body, _ = ask(desk.port, "/runs", body=posted)
    assert status == 422
    assert "of the golden labels; required: 99.50 %" in json.loads(body)["error"]
    assert not desk.out.exists()
    assert sorted((folder / "receipts").glob("*")) == before
    assert desk.received[-1].kind == "refused"


def test_another_model_or_input_than_the_artifacts_is_refused(folder: Path) -> None:
    run = record(folder)
    assert isinstance(refused(folder, message(run | {"artifact_sha256": "0" * 64}, logits(folder))), ArtifactError)
    error = refused(folder, message(run | {"model_sha256": "0" * 64}, logits(folder)))
    assert isinstance(error, ArtifactError)
    assert "other bytes" in str(error)
    error = refused(folder, message(run | {"inputs_sha256": ["0" * 64]}, logits(folder)))
    assert isinstance(error, GateError)
    assert "preprocessing differs" in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"percentiles": {"total": [1.0, 1.0, 1.0]}}, "expected the stages"),
        ({"runs": RUNS - 1}, "another number of runs"),
        ({"elapsed_ms": 3.0}, "the runs alone take"),
        ({"images": "camera"}, "expected 2 parts"),
        ({"runs": 0}, "timing.runs"),
        ({"settled": "yes"}, "settled"),
        ({"faster": 1}, "faster"),
        ({"elapsed_ms": math.nan}, "NaN is not a number"),
        ({"clock_ms": math.inf}, "Infinity is not a number"),
    ],
)
def test_a_record_that_contradicts_its_times_is_refused(folder: Path, change: dict[str, object], said: str) -> None:
    times = ticks()
    run = record(folder, times=times)
    run["timing"] |= change
    error = refused(folder, message(run, logits(folder), times))
    assert isinstance(error, RecipeError)
    assert said in str(error)


def test_a_percentile_that_the_times_do_not_give_is_refused(folder: Path) -> None:
    times = ticks()
    run = record(folder, times=times)
    run["timing"]["percentiles"]["infer"][1] *= 0.9
    assert "percentiles.infer: p90" in str(refused(folder, message(run, logits(folder), times)))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"engine": "tensorflow"},
        {"threads": 0},
        {"device": {"name": " ", "cores": 4}},
        {"device": {"name": "a\u202eb", "cores": 4}},
        {"device": {"name": "x" * 81, "cores": 4}},
        {"adapter": "\x1b[31m"},
        {"accelerator": "tpu"},
    ],
)
def test_what_does_not_follow_the_schema_is_refused_in_one_line(folder: Path, change: dict[str, object]) -> None:
    error = refused(folder, message(record(folder) | change, logits(folder)))
    assert isinstance(error, RecipeError)
    assert "\n" not in str(error)


@pytest.mark.parametrize("posted", [b"", b"\0", b"\0\0\0\x05ab", b"\0\0\0\x02{}", b"\0\0\0\x01[", b"\0\0\0\0" * 99])
def test_a_damaged_message_is_refused(folder: Path, posted: bytes) -> None:
    assert isinstance(refused(folder, posted), RecipeError)


def test_outputs_of_another_size_and_nan_are_refused(folder: Path) -> None:
    assert "outputs" in str(refused(folder, message(record(folder), logits(folder)[:, 1:])))
    broken = logits(folder)
    broken[0, 0, 0, 0] = np.nan
    assert "NaN" in str(refused(folder, message(record(folder), broken)))


def test_a_gpu_that_a_cpu_imitates_counts_as_emulated(folder: Path) -> None:
    times = ticks()
    run = record(folder, times=times) | {"accelerator": "webgpu", "software_adapter": True, "adapter": "swiftshader"}
    judged = judge_run(message(run, logits(folder), times), offer_of([folder]), versions=VERSIONS)
    assert judged.measurement is not None
    assert judged.measurement.device.emulated
    assert judged.measurement.delegate == "webgpu"


def test_a_post_must_be_ours_and_of_a_known_size(desk: Desk) -> None:
    assert ask(desk.port, "/runs", body=b"", kind="text/plain")[0] == 415
    assert ask(desk.port, "/elsewhere", body=b"")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=20)
    headers = {"Cookie": f"edgeseg_{desk.port}={TOKEN}", "Content-Type": "application/octet-stream"}
    connection.request("POST", "/runs", headers=headers | {"Content-Length": str(1 << 40)})
    assert connection.getresponse().status in (411, 413)
    connection.close()


def test_what_no_browser_runs_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    other = tiny.make_artifact(tmp_path / "ir", file_format="openvino")
    with pytest.raises(UnsupportedError, match="--target onnx or --target tflite"):
        offer_of([other.folder])
    with pytest.raises(InputError, match="twice"):
        offer_of([folder, folder])
    (tmp_path / "damaged").mkdir()
    with pytest.raises(ArtifactError):
        offer_of([tmp_path / "damaged"])


def test_without_the_browser_runtime_one_line_names_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path))
    assert main(["serve", str(folder)]) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.endswith("edgeseg toolchain install web")
    assert "\n" not in printed


def test_it_ends_after_the_records_that_were_wanted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.toolchains import ToolchainStatus
    from edgeseg.verbs import serve as verb

    status = ToolchainStatus(name="web", state="installed", folder=tmp_path)
    monkeypatch.setattr(verb, "require_toolchain", lambda _name: status)
    times = ticks()
    posted = message(record(folder, times=times), logits(folder), times)
    urls: list[str] = []

    def post(serving: verb.Serving) -> None:
        urls.append(serving.url)
        token = serving.url.partition("?token=")[2]
        thread = threading.Thread(target=ask, args=(serving.port, "/runs"), kwargs={"body": posted, "token": token})
        thread.start()

    served = verb.serve([folder], address=WebAddress(port=0), out=tmp_path / "out", records=1, on_open=post)
    assert len(served.measured) == 1
    assert not served.interrupted
    assert len(urls[0].partition("?token=")[2]) >= 24, "on this machine too, a page needs the token"


def test_a_certificate_of_this_machine_is_trusted_for_its_names_alone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="makes certificates; pip install edgeseg[serve]")
    made = own_certificate("192.0.2.7", folder=tmp_path / "serve")
    assert own_certificate("192.0.2.7", folder=tmp_path / "serve").fingerprint == made.fingerprint
    assert own_certificate("192.0.2.8", folder=tmp_path / "serve").fingerprint != made.fingerprint
    assert made.key.stat().st_mode & 0o077 == 0
    site = BenchSite(
        offer_of([folder]), tool=find_toolchain("web"), runtime=tmp_path, out=tmp_path, on_received=lambda _: None,
        certificate=made.certificate,
    )  # fmt: skip
    address = WebAddress(port=0, certificate=made.certificate, key=made.key)
    server, url = start_server(site, address=address, token=TOKEN)
    try:
        trusting = ssl.create_default_context(cafile=str(made.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", urlsplit(url).port, context=trusting, timeout=20)
        connection.request("GET", f"/certificate.crt?token={TOKEN}")
        assert connection.getresponse().read() == made.certificate.read_bytes()
        connection.close()
        stranger = http.client.HTTPSConnection("127.0.0.1", urlsplit(url).port, timeout=20)
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("GET", "/")
    finally:
        server.close()
    assert url.startswith("https://")


def test_a_post_that_ends_early_leaves_nothing_and_the_next_is_taken(desk: Desk, folder: Path) -> None:
    times = ticks()
    whole = message(record(folder, times=times), logits(folder), times)
    head = (
        f"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: edgeseg_{desk.port}={TOKEN}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(whole)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", desk.port), timeout=20) as connection:
        connection.sendall(head.encode() + whole[: len(whole) // 2])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert desk.received == []
    assert not desk.out.exists() or not list(desk.out.iterdir())
    assert ask(desk.port, "/runs", body=whole)[0] == 200
    assert [item.kind for item in desk.received] == ["measured"]
