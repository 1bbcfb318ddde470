"""Opening artifacts: what holds, and what a person reads when something does not."""

from __future__ import annotations

import itertools
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.errors import ArtifactError, GateError, InputError
from edgeseg.runtime import load, verify

if TYPE_CHECKING:
    from pathlib import Path

BLOCKED = ("torch", "onnx", "tensorflow", "rich", "matplotlib")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_artifact(tmp_path / "a").folder


def test_the_runtime_imports_and_runs_without_any_training_library(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import edgeseg.runtime
loaded = [name for name in ("cv2", "ai_edge_litert", "onnxruntime", "openvino") if name in sys.modules]
assert not loaded, loaded
with edgeseg.runtime.load({str(folder)!r}, threads=1) as session, edgeseg.runtime.open_camera("synthetic") as camera:
    sink = edgeseg.runtime.VideoSink({str(tmp_path / "o.avi")!r}, fps=30)
    print(edgeseg.runtime.run(session, camera, frames=2, sinks=(sink,)).frames)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=["grey", "one channel", "alpha", "float", "empty"],
)
def test_an_image_of_another_kind_is_refused_in_words(folder: Path, image: np.ndarray) -> None:
    with load(folder, threads=1) as session, pytest.raises(InputError, match=r"\(H, W, 3\) uint8"):
        session.segment(image)


def test_a_flipped_byte_is_found(folder: Path) -> None:
    path = folder / "model.tflite"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="a byte was changed"):
        load(folder)


def test_threads_must_make_sense_and_default_to_what_there_is(folder: Path) -> None:
    with pytest.raises(InputError, match="threads is 0"):
        load(folder, threads=0)
    with load(folder) as session:
        assert 1 <= session.threads <= 4


def test_verify_fails_where_labels_differ(folder: Path) -> None:
    import cv2

    path = folder / "golden" / "expected.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), (labels + 1).astype(np.uint8))
    tiny.reseal(folder)
    with pytest.raises(GateError, match=r"repeats 0\.00 % of the golden labels"):
        verify(folder)


def test_verify_fails_where_preprocessing_differs(folder: Path) -> None:
    import cv2

    path = folder / "golden" / "image.png"
    cv2.imwrite(str(path), cv2.imread(str(path)) // 2)
    tiny.reseal(folder)
    with pytest.raises(GateError, match="preprocessing differs"):
        verify(folder)


def test_verify_reports_the_distance_to_the_float_reference(folder: Path) -> None:
    import cv2

    path = folder / "golden" / "reference.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[: labels.shape[0] // 2] = 200
    cv2.imwrite(str(path), labels)
    tiny.reseal(folder)
    found = verify(folder)
    assert found.reference_agreement == pytest.approx(0.5)
    assert found.agreement == 1.0
    assert found.files == 5


def test_a_model_that_is_not_what_its_manifest_says_ends_with_one_line(folder: Path) -> None:
    tiny.write_tflite(folder / "model.tflite", (tiny.SIZE[0] * 2, tiny.SIZE[1]))
    tiny.reseal(folder)
    with pytest.raises(ArtifactError, match=r"model\.tflite: litert failed"):
        load(folder, threads=1)
    failing = pytest.raises(ArtifactError, match=r"model\.tflite: litert failed")
    with load(folder, threads=1, trusted=True) as session, failing:
        session.segment(tiny.image())


def test_inferences_that_overlap_give_the_outputs_of_one_after_the_other(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with load(tiny.make_artifact(tmp_path / "a", file_format="openvino").folder, threads=1) as session:
        tensors = [session.preprocess(tiny.image(seed=seed)) for seed in range(6)]
        assert session.requests == 2
        for first, second in itertools.pairwise(tensors):
            finish_first, finish_second = session.start(first), session.start(second)
            with pytest.raises(InputError, match="2 inferences are running"):
                session.start(first)
            with pytest.raises(InputError, match="takes"):
                session.start(first[:, 1:])
            np.testing.assert_array_equal(finish_first(), session.infer(first))
            np.testing.assert_array_equal(finish_second(), session.infer(second))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alternate signal stacks")
def test_a_signal_after_openvino_sessions_that_ended_in_the_order_of_their_beginning_is_handled(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    artifact = tiny.make_artifact(tmp_path / "a", file_format="openvino").folder
    code = (
        "import faulthandler, signal, sys; from pathlib import Path; from edgeseg.runtime import load\n"
        "faulthandler.enable()\n"
        "sessions = [load(Path(sys.argv[1]), threads=1) for _ in range(3)]\n"
        "while sessions: sessions.pop(0).close()\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('handled')\n"
    )
    command = [sys.executable, "-c", code, str(artifact)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


HEAPS = """
import ctypes, sys, threading
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
def heaps():
    out = libc.fopen(b"heaps.xml", b"w")
    libc.malloc_info(0, ctypes.c_void_p(out))
    libc.fclose(ctypes.c_void_p(out))
    return open("heaps.xml").read().count("<heap nr")
meet = threading.Barrier(6)
def take():
    libc.malloc(3000)
    meet.wait()
import edgeseg.runtime
session = edgeseg.runtime.load(sys.argv[1], threads=1) if len(sys.argv) > 1 else None
before = heaps()
threads = [threading.Thread(target=take) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(heaps() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of threads are glibc's")
def test_threads_share_the_heaps_that_are_there_once_a_session_is_open(folder: Path, tmp_path: Path) -> None:
    def grown(*arguments: str) -> int:
        command = [sys.executable, "-c", HEAPS, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert grown() >= 2
    assert grown(str(folder)) == 0


def test_where_the_engine_works_at_one_alone_start_does_so_too(folder: Path) -> None:
    with load(folder, threads=2) as session:
        tensor = session.preprocess(tiny.image())
        assert session.requests == 1
        np.testing.assert_array_equal(session.start(tensor)(), session.infer(tensor))
    with pytest.raises(InputError, match="was closed"):
        session.start(tensor)
