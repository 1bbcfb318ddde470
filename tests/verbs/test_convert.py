"""`convert`: from a checkpoint to artifacts that prove themselves, and every way to ask wrongly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from contracts.deployable import deployable, ranges

from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import MARKER, write_json
from edgeseg.core.quantization import RANGES_FILE
from edgeseg.deploy import gate
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.deploy.plan import plan_artifacts
from edgeseg.deploy.proof_images import PROOF_IMAGES
from edgeseg.errors import EdgesegError, GateError, InputError
from edgeseg.models.checkpoint import Checkpoint, save_checkpoint
from edgeseg.runtime import verify
from edgeseg.verbs.convert import convert, plan_conversion


@pytest.fixture(scope="module")
def made() -> Checkpoint:
    return deployable()


@pytest.fixture
def bare(made: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint without ranges."""
    folder = tmp_path / "checkpoint"
    spec = dataclasses.replace(made.spec, name="small:test", licence="CC-BY-NC-4.0", notice="Show this.")
    save_checkpoint(folder, net=made.net, spec=spec, training={"command": "edgeseg train", "seed": 3, "data": "none"})
    return folder


@pytest.fixture
def with_ranges(bare: Path, made: Checkpoint) -> Path:
    """A checkpoint that carries its ranges."""
    sha256 = save_checkpoint(bare, net=made.net, spec=made.spec).weights_sha256
    write_json(dataclasses.replace(ranges(made), weights_sha256=sha256), bare / RANGES_FILE)
    return bare


def lenient(monkeypatch: pytest.MonkeyPatch, bits: int, **thresholds: float) -> None:
    monkeypatch.setitem(gate.THRESHOLDS, bits, dataclasses.replace(gate.THRESHOLDS[bits], **thresholds))


def test_the_artifact_proves_itself(bare: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    (artifact,) = convert(bare, target="onnx", out=tmp_path / "out", on_progress=lambda *step: heard.append(step))
    manifest = artifact.manifest
    assert open_artifact(tmp_path / "out").sha256 == artifact.sha256
    assert (manifest.format, manifest.scheme.name, manifest.target) == ("onnx", "fp32", "onnx")
    assert manifest.parity.label_agreement > 0.999
    assert manifest.parity.images == PROOF_IMAGES
    assert len(manifest.golden.samples) == 3
    assert manifest.licence == "CC-BY-NC-4.0"
    assert manifest.notice == "Show this."
    assert (manifest.lineage.training_command, manifest.lineage.seed) == ("edgeseg train", 3)
    assert manifest.created.endswith("+00:00")
    assert verify(artifact.folder).agreement == 1.0
    assert heard[-1] == ("convert", 1, 1)
    steps = list(dict.fromkeys(name for name, *_ in heard))
    assert steps == ["float reference", "convert", "export fp32", "write ONNX", "write ONNX fp32", "prove ONNX fp32"]


def test_int8_from_carried_ranges_for_two_targets(
    with_ranges: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient(monkeypatch, 0, decided_agreement=0.3, class_agreement=0, displacement_px=9.0)  # the net is untrained
    artifacts = convert(with_ranges, target=("onnx", "intel-x86"), output="labels", out=tmp_path / "all")
    assert [item.folder.name for item in artifacts] == ["small-labels-onnx-int8", "small-labels-openvino-int8"]
    for artifact in artifacts:
        manifest = artifact.manifest
        assert manifest.calibration is not None
        assert manifest.report.ops_quantized > 0
        assert manifest.parity.sqnr_db is None
        assert manifest.outputs[0].role == "labels"
        assert verify(artifact.folder).agreement >= manifest.golden.min_agreement


def test_a_failed_gate_writes_nothing(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lenient(monkeypatch, 24, sqnr_db=1000.0)
    with pytest.raises(GateError, match=r"small:test-onnx-fp32 is refused .*SQNR of the logits: \d+.* not written"):
        convert(bare, target="onnx", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "out-refused.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "tflight"}, 'Did you mean "tflite"'),
        ({"target": "rasberry-pi-5"}, 'Did you mean "raspberry-pi-5"'),
        ({"target": "./none.toml"}, "no such file"),
        ({"target": ()}, "No target given"),
        ({"target": "onnx", "precision": "int4"}, "Unknown precision"),
        ({"target": "onnx", "precision": "int8"}, "--calibration DIR, or streets:64"),
        ({"target": "raspberry-pi-5"}, "raspberry-pi-5: int8 needs activation ranges"),
        ({"target": "onnx", "size": (100, 100)}, "multiples of 32"),
        ({"target": "onnx", "calibration": "./no-such-folder"}, "no-such-folder"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(bare: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EdgesegError, match=message):
        plan_conversion(bare, ConversionRequest(**arguments))  # type: ignore[arg-type]


def test_a_foreign_folder_is_left_alone(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="not made by edgeseg"):
        convert(bare, target="onnx", out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "mine" / MARKER).exists()


def test_auto_takes_what_the_device_prefers_and_names_do_not_collide() -> None:
    asked = ("tflite", "raspberry-pi-5", "raspberry-pi-4", "iphone")
    planned = plan_artifacts(asked, precision="auto", has_ranges=True, model="net", out=None)
    assert [(item.format, item.precision) for item in planned] == [("tflite", "int8")] * 3 + [("coreml", "fp16")]
    assert len({item.path for item in planned}) == 4
    (float_only,) = plan_artifacts(("tflite",), precision="auto", has_ranges=False, model="net", out=None)
    assert float_only.path == Path("artifacts/net-tflite-fp32")


def test_boards_of_one_file_name_keep_their_own_folders(bare: Path, tmp_path: Path) -> None:
    board = 'schema = 1\nname = "b"\ntitle = "B"\nsoc = "c"\narch = "x86_64"\nmemory_mb = 1024\n' + (
        '[[backends]]\nformat = "onnx"\nengine = "onnxruntime"\nschemes = ["fp32"]\n'
    )
    for name in ("a", "b", "b/a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "board.toml").write_text(board, encoding="utf-8")
    first, second, third = (str(tmp_path / name / "board.toml") for name in ("a", "b", "b/a"))
    planned = plan_conversion(bare, ConversionRequest(target=(first, second, "onnx"), out=tmp_path / "out")).artifacts
    names = ["small-test-onnx-fp32-a-board", "small-test-onnx-fp32-b-board", "small-test-onnx-fp32-onnx"]
    assert [item.path.name for item in planned] == names
    with pytest.raises(InputError, match=r"a/board.toml and .*b/a/board.toml: both artifacts .* same folder.* --out"):
        plan_conversion(bare, ConversionRequest(target=(first, third)))
