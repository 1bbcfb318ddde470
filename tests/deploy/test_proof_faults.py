"""What used to be proven wrongly: each promise of the gate on real artifacts of small or bundled nets."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
import pytest
import torch
from contracts.deployable import deployable, ranges
from contracts.shapes import CLASSES, write_shapes
from onnx import TensorProto, helper, numpy_helper

from edgeseg.calibration import CalibrationFinding, open_source
from edgeseg.core.files import write_json
from edgeseg.core.progress import no_progress
from edgeseg.core.quantization import RANGES_FILE, CalibrationSet, Ranges
from edgeseg.deploy.conversion_plan import plan_for_targets
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.deploy.convert import _float_layers, _ranges
from edgeseg.deploy.proof_images import ProofImages, proof_images
from edgeseg.deploy.prove import emulate
from edgeseg.deploy.reference import make_reference
from edgeseg.errors import GateError
from edgeseg.export import export
from edgeseg.export.calibrating import Calibrated
from edgeseg.export.resize_sizes import resize_by_sizes
from edgeseg.models.checkpoint import PROOF_FOLDER, save_checkpoint
from edgeseg.verbs.convert import convert

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeseg.models import Checkpoint

SIZE = (64, 96)


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    return deployable(size=SIZE)


@pytest.fixture(scope="module")
def observed(small: Checkpoint) -> Ranges:
    return ranges(small)


def saved(small: Checkpoint, folder: Path, found: Ranges | None = None) -> Path:
    complete = save_checkpoint(folder, net=small.net, spec=small.spec)
    if found is not None:
        write_json(dataclasses.replace(found, weights_sha256=complete.weights_sha256), folder / RANGES_FILE)
    return folder


def test_a_spoilt_last_range_is_refused_with_measure_class_image_and_advice(
    small: Checkpoint, observed: Ranges, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    spoilt = tuple(
        dataclasses.replace(item, low=0.0, high=1e-3) if "classifier" in item.name else item for item in observed.ranges
    )
    assert spoilt != observed.ranges
    folder = saved(small, tmp_path / "net", dataclasses.replace(observed, ranges=spoilt))
    with pytest.raises(
        GateError, match=r"is refused .* worst in image \d: .*out-refused\.png.*not written\. \w+"
    ) as said:
        convert(folder, target="onnx", precision="int8", out=tmp_path / "out")
    assert "streets" in str(said.value)
    assert (tmp_path / "out-refused.png").stat().st_size > 1000
    assert not (tmp_path / "out").exists()


def test_labels_at_stride_are_compared_with_labels_at_stride(small: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (made,) = convert(saved(small, tmp_path / "net"), target="onnx", precision="fp32", output="labels",
                      out=tmp_path / "out")  # fmt: skip
    gate = made.manifest.gate
    assert gate is not None
    assert (made.manifest.proof.level, made.manifest.proof.engine) == ("engine", "onnxruntime")
    assert gate.compared == "labels at 8x12"
    assert gate.label_agreement > 0.999
    assert made.manifest.parity.sqnr_db is None


def resized(size: tuple[int, int], target: tuple[int, int]) -> onnx.ModelProto:
    """Return a Resize by factors as torch's exporter writes it, from `size` to `target`."""
    factors = np.array([1, 1, target[0] / size[0], target[1] / size[1]], np.float32)
    node = helper.make_node("Resize", ["x", "", "factors"], ["y"], name="up", mode="linear",
                            coordinate_transformation_mode="half_pixel")  # fmt: skip
    graph = helper.make_graph(
        [node], "up", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, *target])],
        [numpy_helper.from_array(factors, "factors")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_every_size_keeps_its_resizes() -> None:
    broken = 0
    for cells in range(1, 25):
        for pixels in range(cells, 137, 7):
            model = resized((cells, cells), (pixels, pixels))
            try:
                onnx.shape_inference.infer_shapes(model, strict_mode=True)
            except onnx.shape_inference.InferenceError:
                broken += 1
            resize_by_sizes(model)
            onnx.checker.check_model(model, full_check=True)
    assert broken > 0, "float32 factors used to be wrong for some sizes"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(480, 640), (640, 640), (1088, 1920)])
def test_the_default_model_becomes_onnx_at_sizes_whose_factors_do_not_fit_float32(
    size: tuple[int, int], tmp_path: Path
) -> None:
    (made,) = convert(None, target="onnx", precision="fp32", size=size, out=tmp_path / "out")
    assert made.manifest.parity.label_agreement > 0.999


def test_new_ranges_keep_the_float_layers_that_the_checkpoint_carries(
    small: Checkpoint, observed: Ranges, tmp_path: Path
) -> None:
    found = dataclasses.replace(observed, float_layers=("net.classifier",))
    folder = saved(small, tmp_path / "net", found)
    planned = plan_for_targets(folder, ConversionRequest(target="onnx", precision="int8", calibration="streets:4"))
    spec = dataclasses.replace(small.spec, weights_sha256=_weights(folder))
    same = dataclasses.replace(small, spec=spec, folder=folder)
    assert _float_layers(same, planned) == ("net.classifier",)
    assert _float_layers(small, planned) == (), "ranges of other weights say nothing of these"


@pytest.mark.parametrize("data", [None, "streets"])
def test_calibration_uses_every_image_where_others_are_given_to_prove_on(
    data: str | None, small: Checkpoint, observed: Ranges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, object] = {}

    def calibrated(*_: object, **words: object) -> Calibrated:
        found.update(words)
        return Calibrated(ranges=observed, findings=(CalibrationFinding(kind="few", text="2 images are few."),))

    monkeypatch.setattr("edgeseg.export.calibrate_ranges", calibrated)
    request = ConversionRequest(target="onnx", precision="int8", calibration="streets:4", data=data)
    planned = plan_for_targets(saved(small, tmp_path / "net", observed), request)
    said: list[str] = []
    _ranges(small, planned, request, progress=no_progress, notice=said.append)
    assert found["hold_out"] == (4 if data is None else 0)
    assert said == ["calibration: 2 images are few."]


def images_of_one_grey(folder: Path, greys: Iterable[int]) -> Path:
    folder.mkdir()
    for grey in greys:
        cv2.imwrite(str(folder / f"{grey}.png"), np.full((20, 30, 3), grey, np.uint8))
    return folder


def test_the_proof_uses_the_users_images_else_those_that_were_not_calibrated_on(tmp_path: Path) -> None:
    calibration = images_of_one_grey(tmp_path / "calibration", range(10, 16))
    data = images_of_one_grey(tmp_path / "data", (90, 91))
    used = CalibrationSet(
        source=open_source(str(calibration)).name, split="train", item_ids=tuple(f"{n}.png" for n in range(10, 14)),
        selection="all", seed=0, class_pixels=(), preprocess_sha256="", sha256="",
    )  # fmt: skip

    def greys(own: str | None) -> list[int]:
        found = proof_images(data=own, calibration=str(calibration), calibrated_on=used, trained_on="streets")
        assert found.in_domain
        return [int(image[0, 0, 0]) for image in found.images]

    assert greys(None) == [14, 15]
    assert greys(str(data)) == [90, 91]


def _weights(folder: Path) -> str:
    from edgeseg.models.checkpoint import read_spec

    return read_spec(folder).weights_sha256


def test_a_net_without_images_of_its_own_kind_is_judged_by_what_it_is_sure_of() -> None:
    found = proof_images(data=None, calibration=None, calibrated_on=None, trained_on="camvid train, 367 images")
    assert not found.in_domain
    assert "--data DIR" in found.warning
    own = proof_images(data=None, calibration=None, calibrated_on=None, trained_on="streets train, 4000 images")
    assert own.in_domain


def test_labels_that_cannot_count_are_said(tmp_path: Path) -> None:
    data = str(write_shapes(tmp_path / "shapes", training=1, validation=2))

    def found(classes: tuple[str, ...]) -> ProofImages:
        return proof_images(data=data, calibration=None, calibrated_on=None, trained_on="", classes=classes)

    assert (len(found(CLASSES).truths), found(CLASSES).warning) == (2, "")
    other = found(("background", "box", "disc"))
    assert (len(other.images), other.truths) == (2, ())
    assert "do not count: its 3 classes are not the net's 3, or in another order" in other.warning
    shutil.rmtree(tmp_path / "shapes" / "labels")
    assert found(CLASSES).warning.startswith(f"The labels of {data} do not count: ")


def test_the_checkpoints_own_images_come_before_rendered_streets(tmp_path: Path) -> None:
    images_of_one_grey(tmp_path / PROOF_FOLDER, (0, 40, 80))
    found = proof_images(data=None, calibration=None, calibrated_on=None, trained_on="", checkpoint=tmp_path)
    assert (len(found.images), found.in_domain) == (3, True)


def test_fp16_is_computed_in_fp16(small: Checkpoint, tmp_path: Path) -> None:
    from edgeseg.core.quantization import SCHEMES

    images = proof_images(data=None, calibration=None, calibrated_on=None, trained_on="streets")
    known = make_reference(small, spec=small.spec, images=dataclasses.replace(images, images=images.images[:2]))
    half = export(small, precision="fp32", folder=tmp_path / "a").as_scheme(SCHEMES["fp16"], folder=tmp_path / "b")
    found = emulate(half, reference=known, name="small")
    assert found is not None
    assert found.sqnr_db is not None
    assert 20 < found.sqnr_db < 90
    assert 0 < found.peak < 65504
    with torch.no_grad():
        loud = next(module for module in small.net.modules() if isinstance(module, torch.nn.BatchNorm2d))
        kept = loud.weight.clone()
        loud.weight.mul_(1e6)
    try:
        scheme = SCHEMES["fp16"]
        overflowing = export(small, precision="fp32", folder=tmp_path / "d").as_scheme(scheme, folder=tmp_path / "e")
        with pytest.raises(GateError, match=r"reaches .* and float16 ends at 65504"):
            emulate(overflowing, reference=known, name="small")
    finally:
        with torch.no_grad():
            loud.weight.copy_(kept)
