"""`--calibrator native`: int8 by the vendor's own quantizer, of the same graph and images, through the same gate."""

from __future__ import annotations

import dataclasses
import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts.deployable import deployable

from edgeseg.converters import native_calibration
from edgeseg.core import requirements
from edgeseg.core.artifact import open_artifact
from edgeseg.deploy import gate
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.errors import ConversionError, InputError, MissingDependency, UnsupportedError
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.runtime import verify
from edgeseg.verbs.convert import convert, plan_conversion

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact

WORTHLESS = {
    "label_agreement": 0.0, "boundary_agreement": 0.0, "decided_agreement": 0.0, "class_agreement": 0.0,
    "displacement_px": 99.0, "sqnr_db": -99.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = deployable(short=True)
    folder = tmp_path_factory.mktemp("native") / "checkpoint"
    save_checkpoint(folder, net=made.net, spec=dataclasses.replace(made.spec, name="small"))
    return folder


def request(**more: object) -> ConversionRequest:
    values: dict[str, object] = {"target": "onnx", "calibration": "streets:4", "calibrator": "native", **more}
    return ConversionRequest(**values)  # type: ignore[arg-type]


@pytest.fixture
def judged_leniently(monkeypatch: pytest.MonkeyPatch) -> None:
    """The net is untrained: what is promised is that the gate judges it, not that it passes."""
    monkeypatch.setitem(gate.THRESHOLDS, 0, dataclasses.replace(gate.THRESHOLDS[0], **WORTHLESS))


def converted(checkpoint: Path, *, target: str, distribution: str) -> Artifact:
    """Return the vendor's int8 artifact, after checking what is promised of each."""
    (artifact,) = convert(checkpoint, target=target, calibration="streets:4", calibrator="native", ignore_findings=True)
    manifest = artifact.manifest
    assert artifact.folder.name == manifest.name == f"small-{target}-int8-native"
    assert manifest.report.calibrator == f"{distribution} {version(distribution)}"
    assert manifest.report.tool_versions[distribution] == version(distribution)
    assert manifest.scheme.name == "int8"
    assert manifest.report.ops_quantized > 0
    assert manifest.calibration is not None
    assert len(manifest.calibration.item_ids) == 4
    assert manifest.gate is not None
    assert verify(artifact.folder).agreement >= manifest.golden.min_agreement
    return artifact


@pytest.mark.usefixtures("judged_leniently")
def test_the_vendors_int8_is_an_artifact_that_says_who_made_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = converted(checkpoint, target="onnx", distribution="onnxruntime")
    # edgeseg's own int8 does not replace it unasked.
    with pytest.raises(InputError, match="its calibrator is native, not edgeseg"):
        plan_conversion(checkpoint, request(calibrator="edgeseg", precision="int8", out=artifact.folder))
    assert open_artifact(artifact.folder).sha256 == artifact.sha256


@pytest.mark.usefixtures("judged_leniently")
@pytest.mark.parametrize(("target", "distribution"), [("tflite", "ai-edge-quantizer"), ("openvino", "nncf")])
def test_so_is_that_of_other_vendors(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, distribution: str
) -> None:
    if importlib.util.find_spec(distribution.replace("-", "_")) is None:
        pytest.skip(f"{distribution} is not installed")
    monkeypatch.chdir(tmp_path)
    converted(checkpoint, target=target, distribution=distribution)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"precision": "fp16"}, "makes int8, not fp16"),
        ({"calibration": None}, "--calibration DIR"),
        ({"max_drop": 0.01}, "Leave --max-drop"),
        ({"output": "auto"}, "--output auto out"),
    ],
)
def test_what_does_not_go_with_a_native_calibrator_is_refused(
    checkpoint: Path, more: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        plan_conversion(checkpoint, request(**more))


def test_a_format_without_a_native_calibrator_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"ONNX for TensorRT has no native calibrator here"):
        plan_conversion(checkpoint, request(target="tensorrt-onnx"))


@pytest.mark.parametrize(
    ("target", "module", "extra"), [("openvino", "nncf", "nncf"), ("tflite", "ai_edge_quantizer", "convert-tflite")]
)
def test_a_missing_quantizer_names_its_extra(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, target: str, module: str, extra: str
) -> None:
    real = requirements.missing_modules
    monkeypatch.setattr(
        requirements, "missing_modules", lambda modules: tuple(modules) if module in modules else real(())
    )
    with pytest.raises(MissingDependency, match=rf"{module} is not installed.*edgeseg\[{extra}\]"):
        plan_conversion(checkpoint, request(target=target))


def test_calibration_tensors_are_the_stored_images_normalised_where_the_host_does() -> None:
    class Exported:
        """An exported model with one grey ramp."""

        def __init__(self, *, in_graph: bool) -> None:
            spec = deployable(short=True).spec
            self.preprocess = dataclasses.replace(spec.preprocess, in_graph=in_graph, color_order="rgb")
            dtype = "uint8" if in_graph else "float32"
            self.input = dataclasses.replace(spec.inputs[0], shape=(1, 4, 4, 3), layout="NHWC", dtype=dtype)
            self.images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)

        def calibration_images(self) -> np.ndarray:
            return self.images

    plain, host = Exported(in_graph=True), Exported(in_graph=False)
    (tensor,) = native_calibration.calibration_tensors(plain)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tensor, plain.images)
    (tensor,) = native_calibration.calibration_tensors(host)  # type: ignore[arg-type]
    rule = host.preprocess
    np.testing.assert_allclose(tensor, (host.images * rule.scale - np.array(rule.mean)) / np.array(rule.std), rtol=1e-5)
    plain.images = plain.images[:0]
    with pytest.raises(ConversionError, match="has none"):
        native_calibration.calibration_tensors(plain)  # type: ignore[arg-type]
