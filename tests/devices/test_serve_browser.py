"""The page of `edgeseg serve` in a real browser: the desk's tensors and labels bit by bit, a camera fed from a file."""

from __future__ import annotations

import base64
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.devtools import Page, chromium, open_page

from edgeseg.bench import read_measurement
from edgeseg.core.records import encode_record
from edgeseg.core.spec import Layout, Preprocess, TensorSpec
from edgeseg.devices import browser
from edgeseg.pixels import decode, prepare
from edgeseg.runtime import load
from edgeseg.runtime.web import WebAddress
from edgeseg.toolchains import find_toolchain, toolchain_status
from edgeseg.verbs.serve import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.core.measurement import Measurement

SCRIPTS = Path(browser.__file__).parent
CHECK = """
import fs from "node:fs";
const { prepare } = await import(process.argv[1] + "/pixels.js");
const { decode } = await import(process.argv[1] + "/labels.js");
const { plainSha256 } = await import(process.argv[1] + "/sha256.js");
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
const { image, inputs, outputs } = JSON.parse(fs.readFileSync(0));
const kinds = { float32: Float32Array, int8: Int8Array, int32: Int32Array };
console.log(JSON.stringify({
  inputs: inputs.map(({ tensor, preprocess }) => (
    text(prepare({ ...image, data: bytes(image.data) }, tensor, preprocess)))),
  outputs: outputs.map(({ data, size, ...model }) => (
    text(decode(new kinds[model.output.dtype](bytes(data).buffer), model, size)))),
  hash: plainSha256(bytes(image.data)),
}));
"""


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def input_of(size: tuple[int, int], *, dtype: Any = "uint8", layout: Layout = "NHWC", **others: Any) -> TensorSpec:
    shape = (1, *size, 3) if layout == "NHWC" else (1, 3, *size)
    return TensorSpec(name="image", shape=shape, dtype=dtype, layout=layout, role="image", **others)


INPUTS = [
    (input_of((61, 90)), Preprocess()),
    (input_of((30, 45)), Preprocess(interpolation="area")),
    (input_of((40, 70)), Preprocess(interpolation="area", color_order="bgr")),
    (input_of((128, 160)), Preprocess(resize="letterbox")),
    (input_of((50, 64), dtype="float32", layout="NCHW"), Preprocess(in_graph=False)),
    (input_of((50, 64), dtype="int8", scale=0.0186, zero_point=-14), Preprocess(in_graph=False)),
]


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here: apt install nodejs")
def test_the_pages_tensors_and_labels_are_the_desks_bit_by_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    image = cv2.GaussianBlur(random.integers(0, 256, (60, 90, 3)).astype(np.uint8), (0, 0), 1)
    rgba = np.dstack([image[:, :, ::-1], np.full(image.shape[:2], 255, np.uint8)])
    grid, size = (12, 16), (101, 133)
    logits = cv2.resize(random.normal(0, 3, (5, 6, 7)).astype(np.float32), grid[::-1])[None]
    outputs = [logits, np.rint(logits * 9).astype(np.int8), random.integers(0, 7, (1, *grid)).astype(np.int32)]
    specs = [
        TensorSpec(
            name="output", shape=output.shape, dtype=output.dtype.name, role="labels" if output.ndim == 3 else "logits",
            layout="NHW" if output.ndim == 3 else "NHWC",
        )
        for output in outputs
    ]  # fmt: skip
    letterbox, whole = Preprocess(resize="letterbox"), input_of((96, 128))
    asked = {
        "image": {"data": encoded(rgba), "height": 60, "width": 90},
        "inputs": [{"tensor": encode_record(t), "preprocess": encode_record(p)} for t, p in INPUTS],
        "outputs": [
            {"data": encoded(output), "size": size, "output": encode_record(spec), "input": encode_record(whole),
             "preprocess": encode_record(letterbox)}
            for output, spec in zip(outputs, specs, strict=True)
        ],
    }  # fmt: skip
    for script in SCRIPTS.glob("*.js"):
        shutil.copy(script, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        ["node", "--input-type=module", "-e", CHECK, str(tmp_path)], input=json.dumps(asked), capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    for (tensor, preprocess), text in zip(INPUTS, found["inputs"], strict=True):
        ours, theirs = prepare(image, preprocess=preprocess, tensor=tensor), base64.b64decode(text)
        np.testing.assert_array_equal(np.frombuffer(theirs, ours.dtype).reshape(ours.shape), ours)
    for output, spec, text in zip(outputs, specs, found["outputs"], strict=True):
        ours = decode(output, tensor=spec, preprocess=letterbox, input_size=whole.size, size=size)
        same = np.mean(np.frombuffer(base64.b64decode(text), np.uint8) == ours.reshape(-1))
        # Among three classes, rounding decides where two of them are equal, and bytes often are.
        assert same == 1 if spec.dtype != "int8" else same > 0.999, spec


def web_runtime() -> str:
    """Return why no engine can run in a browser here, "" if one can."""
    if chromium() is None:
        return "no Chromium here: apt install chromium"
    found = toolchain_status(find_toolchain("web"))
    return "" if found.state == "installed" else f"the browser runtime {found.detail}: {found.fix}"


def camera_file(path: Path, image: np.ndarray) -> Path:
    """Write a Y4M film of one image, which Chromium's fake camera repeats."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
    header = f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(header + (b"FRAME\n" + planes) * 2)
    return path


def in_page(artifact: Path, tmp_path: Path, work: Callable[[Page], object], *flags: str) -> list[Measurement]:
    """Do `work` on the page of an artifact, and return the measurements that it sent."""
    urls: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: list[Measurement] = []

    def desk() -> None:
        served = serve(
            [artifact], address=WebAddress(port=0), out=tmp_path / "results", records=1,
            on_open=lambda serving: urls.put(serving.url),
        )  # fmt: skip
        done.extend(read_measurement(item.record) for item in served.measured if item.record)

    thread = threading.Thread(target=desk, daemon=True)
    thread.start()
    with open_page(urls.get(timeout=60), folder=tmp_path / "profile", flags=flags) as page:
        page.until("document.getElementById('status')?.textContent === 'Ready'")
        page.value("document.getElementById('name').value = 'Headless'")
        work(page)
        thread.join(timeout=120)
    assert not thread.is_alive(), "no measurement came"
    return done


def finished(page: Page) -> None:
    ended = "['Ready', 'Stopped'].includes(document.getElementById('status').textContent)"
    page.until("document.getElementById('status').textContent === 'Working'")
    for _ in range(8):  # each waits half a minute at most
        waiting = f"const look = () => {ended} || !left-- ? done({ended}) : setTimeout(look, 200); look();"
        if page.value(f"new Promise((done) => {{ let left = 100; {waiting} }})"):
            break
    assert page.value("document.getElementById('trouble').textContent") == ""


@pytest.mark.slow
@pytest.mark.skipif(bool(web_runtime()), reason=web_runtime())
@pytest.mark.parametrize(("file_format", "threads"), [("tflite", 1), ("tflite", 2), ("onnx", 1), ("onnx", 2)])
def test_a_browser_proves_and_measures_an_artifact(file_format: str, threads: int, tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact", file_format=file_format).folder

    def work(page: Page) -> None:
        assert page.value("crossOriginIsolated") is True
        page.value(f"document.getElementById('threads').value = '{threads}'")
        page.value("document.getElementById('measure').click()")
        finished(page)

    (measured,) = in_page(artifact, tmp_path, work, "--disable-gpu")
    assert measured.label_agreement == 1.0
    assert measured.threads == threads
    assert measured.device.name == "Headless"
    total = measured.stage("total")
    assert total is not None
    assert total.runs == 200


@pytest.mark.slow
@pytest.mark.skipif(bool(web_runtime()), reason=web_runtime())
def test_camera_frames_get_the_labels_that_the_desk_gives_them_pixel_for_pixel(tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    film = camera_file(tmp_path / "camera.y4m", tiny.image((240, 320)))

    def work(page: Page) -> None:
        page.value("document.getElementById('camera').click()")
        finished(page)
        page.until("Number(document.body.dataset.frames) >= 3")
        last = json.loads(
            str(
                page.value(
                    "import('/bench.js').then(({ state: { last: { image, labels } } }) => { const text = (array) => "
                    "btoa(Array.from(array, (byte) => String.fromCharCode(byte)).join('')); return JSON.stringify({ "
                    "size: [image.height, image.width], image: text(image.data), labels: text(labels) }); })"
                )
            )
        )
        rgba = np.frombuffer(base64.b64decode(last["image"]), np.uint8).reshape(*last["size"], 4)
        frame = np.ascontiguousarray(rgba[:, :, 2::-1])
        assert np.abs(frame.astype(int) - tiny.image((240, 320))).mean() < 8, "the file's image, after 4:2:0"
        with load(artifact, trusted=True) as session:
            labels = session.segment(frame)
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(last["labels"]), np.uint8), labels.reshape(-1))
        assert len(np.unique(labels)) > 1
        page.value("document.getElementById('measure').click()")
        finished(page)

    flags = ("--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
             f"--use-file-for-fake-video-capture={film}")  # fmt: skip
    (measured,) = in_page(artifact, tmp_path, work, *flags)
    assert measured.engine_options["images"] == "camera"
    assert measured.image_size == (240, 320)
    assert measured.frame_age is not None
    assert 0 < measured.frame_age.p50_ms < 5000


@pytest.mark.slow
@pytest.mark.skipif(bool(web_runtime()), reason=web_runtime())
def test_webgpu_on_a_cpu_proves_labels_and_is_marked_as_emulated(tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact", file_format="onnx").folder

    def work(page: Page) -> None:
        assert page.value("import('/bench.js').then(({ state }) => state.can.webgpu)"), "no WebGPU adapter"
        page.value("document.querySelector('[value=webgpu]').checked = true")
        page.value("document.getElementById('measure').click()")
        finished(page)

    (measured,) = in_page(
        artifact, tmp_path, work, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
        "--enable-features=Vulkan", "--ignore-gpu-blocklist",
    )  # fmt: skip
    assert measured.delegate == "webgpu"
    assert measured.device.emulated
    assert measured.label_agreement == 1.0
