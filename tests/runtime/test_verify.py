"""Verification trusts nothing: whatever a model file does to its engine ends as one line, within limits."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import write_json
from edgeseg.core.receipt import read_receipts
from edgeseg.errors import ArtifactError, GateError, InputError
from edgeseg.runtime import Limits, load, verify
from edgeseg.runtime.session import isolated
from edgeseg.runtime.session.verify import check_verification, compare_outputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and memory limits are POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_artifact(tmp_path / "a", file_format="onnx").folder


def crash(folder: Path, **_: object) -> int:
    import ctypes

    return ctypes.string_at(0)[0] + len(str(folder))


def hang(folder: Path, **_: object) -> int:
    while True:
        time.sleep(1)


def devour(folder: Path, *, prepare: Callable[[], None], **_: object) -> int:
    prepare()
    return sum(np.ones(1 << 28).nbytes for _ in range(2))


def leave(folder: Path, **_: object) -> int:
    sys.exit(7)


def misuse(folder: Path, **_: object) -> int:
    raise InputError(f"{folder.name}: not like this.")


def shout(folder: Path, **_: object) -> int:
    print("a library that prints to stdout")
    return 5


def isolate(function: Callable[..., int], folder: Path, *, seconds: float = 30) -> int:
    limits = Limits(seconds=seconds, memory_mb=512)
    return isolated.run_isolated(function, int, folder=folder, engine=None, threads=1, limits=limits)


@pytest.mark.parametrize(("change", "words"), [(lambda x: 2 * x, "differ"), (lambda x: x * np.nan, "repeats")])
def test_logits_are_judged_and_not_their_labels_alone(
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]], words: str, folder: Path
) -> None:
    artifact = open_artifact(folder)
    golden = np.load(folder / artifact.manifest.golden.output)
    known = {
        "inputs_sha256": [artifact.manifest.golden.input_sha256], "engine_version": "1", "delegate": "", "threads": 1
    }  # fmt: skip
    same = compare_outputs(artifact, outputs=[golden], engine="onnxruntime", **known)  # type: ignore[arg-type]
    check_verification(same, folder)
    other = compare_outputs(artifact, outputs=[change(golden)], engine="onnxruntime", **known)  # type: ignore[arg-type]
    with pytest.raises(GateError, match=words):
        check_verification(other, folder)
    assert other.sqnr_db is not None
    assert other.sqnr_db < 10
    browser = compare_outputs(artifact, outputs=[2 * golden], engine="onnxruntime-web", **known)  # type: ignore[arg-type]
    check_verification(browser, folder)


@POSIX
@pytest.mark.parametrize(
    ("function", "message"),
    [(crash, "SIGSEGV: the model file is damaged or hostile"), (leave, "ended with status 7"),
     (devour, "needs more than 512 MB")],
)  # fmt: skip
def test_the_end_of_the_engines_process_is_one_line(
    function: Callable[..., int], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    monkeypatch.setattr(function, "__module__", "test_verify")
    with pytest.raises(ArtifactError, match=message) as caught:
        isolate(function, folder)
    assert str(caught.value).isprintable()


def test_an_engine_that_never_answers_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    monkeypatch.setattr(hang, "__module__", "test_verify")
    with pytest.raises(ArtifactError, match=r"did not end within 3 s and was stopped.*--time-limit"):
        isolate(hang, folder, seconds=3)


def test_errors_and_results_cross_the_border_and_chatter_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    monkeypatch.setattr(misuse, "__module__", "test_verify")
    monkeypatch.setattr(shout, "__module__", "test_verify")
    with pytest.raises(InputError, match="a: not like this"):
        isolate(misuse, folder)
    assert isolate(shout, folder) == 5


@POSIX
def test_a_model_that_computes_for_ever_is_stopped_and_leaves_no_process(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_endless(onnx, folder / "model.onnx")
    tiny.reseal(folder)
    with pytest.raises(ArtifactError, match="did not end within 5 s"):
        verify(folder, limits=Limits(seconds=5))
    with pytest.raises(ArtifactError, match=r"did not end|needs more"):
        verify(folder, limits=Limits(seconds=4, memory_mb=256))


def write_endless(onnx: object, path: Path) -> None:
    """Write an ONNX net whose loop's condition never turns false."""
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> object:
        return helper.make_tensor_value_info(name, kind, shape)

    step = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(
        step, "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [1])],
        [value("on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    cells = [1, len(tiny.CLASSES), tiny.SIZE[0] // tiny.STRIDE, tiny.SIZE[1] // tiny.STRIDE]
    nodes = [
        helper.make_node("Loop", ["", "true", "one"], ["end"], body=body),
        helper.make_node("Expand", ["end", "shape"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "endless", [value("image", TensorProto.UINT8, [1, *tiny.SIZE, 3])],
        [value("logits", TensorProto.FLOAT, cells)],
        [helper.make_tensor("true", TensorProto.BOOL, [], [True]),
         helper.make_tensor("one", TensorProto.FLOAT, [1], [1]),
         helper.make_tensor("shape", TensorProto.INT64, [4], cells)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, str(path))  # type: ignore[attr-defined]


def test_an_untrusted_artifact_is_verified_before_this_process_opens_it(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    with load(folder, threads=1, trusted=False) as session:
        assert session.segment(tiny.image()).shape == tiny.SIZE
    import cv2

    cv2.imwrite(str(folder / "golden" / "expected.png"), np.zeros(tiny.SIZE, np.uint8) + 9)
    tiny.reseal(folder)
    with pytest.raises(GateError, match=r"repeats 0\.00 % of the golden labels; required: 99\.50 %"):
        load(folder, threads=1, trusted=False)


def test_a_golden_image_that_unpacks_to_gigabytes_is_refused_by_its_header(folder: Path) -> None:
    path = folder / "golden" / "image.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (32_000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(content))
    tiny.reseal(folder)
    with pytest.raises(ArtifactError, match=r"image\.png: the golden sample is not a PNG of the input's size"):
        verify(folder)


def test_a_digest_from_elsewhere_is_what_a_replaced_folder_cannot_fake(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    from edgeseg.verbs.verify import verify_artifact as verify_verb

    sha256 = open_artifact(folder).sha256
    assert verify_verb(folder, threads=1, sha256=sha256.upper()).verification.artifact_sha256 == sha256
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    tiny.reseal(folder)
    with pytest.raises(GateError, match=rf"not {sha256[:12]}.*a replaced one"):
        verify_verb(folder, threads=1, sha256=sha256)
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        verify_verb(folder, threads=1, sha256="abc")


def test_a_receipt_names_artifact_and_device_and_changes_no_checksum(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    from edgeseg.verbs.verify import verify_artifact as verify_verb

    done = verify_verb(folder, threads=1, receipt=True, device="my board")
    again = verify_verb(folder, threads=1)
    assert done.receipt is not None
    assert again.receipt is None
    assert done.verification.artifact_sha256 == again.verification.artifact_sha256 == open_artifact(folder).sha256
    (receipt,) = read_receipts(folder, artifact_sha256=done.verification.artifact_sha256)
    assert (receipt.device, receipt.engine, receipt.agreement) == ("my board", "onnxruntime", 1.0)
    with pytest.raises(ArtifactError, match="belongs to another artifact"):
        read_receipts(folder, artifact_sha256="0" * 64)
    write_json({"schema": 1, "agreement": 5}, done.receipt)
    with pytest.raises(Exception, match=r"is missing|out of range"):
        read_receipts(folder, artifact_sha256=receipt.artifact_sha256)
