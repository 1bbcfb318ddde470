"""A conversion replaces its own earlier result, and no other artifact unasked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import MANIFEST, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import write_json
from edgeseg.deploy.conversion_plan import plan_for_targets
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.deploy.plan import PlannedArtifact
from edgeseg.deploy.replacing import distinct_name, refuse_replacing
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tiny.make_artifact(tmp_path / "a", file_format="onnx").folder
    (folder / ".edgeseg").touch()
    return folder


def planned(
    folder: Path, *, file_format: str = "onnx", precision: str = "fp32", calibrator: str = "edgeseg"
) -> PlannedArtifact:
    return PlannedArtifact(
        target=file_format, format=file_format, backend=ResolvedBackend(engine="e"), precision=precision,  # type: ignore[arg-type]
        path=folder, reason="", calibrator=calibrator,  # type: ignore[arg-type]
    )  # fmt: skip


def spec_of(folder: Path) -> ModelSpec:
    return open_artifact(folder).manifest.spec


def test_the_same_conversion_again_replaces_its_result(folder: Path) -> None:
    refuse_replacing(planned(folder), spec=spec_of(folder), output="logits", force=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_format": "tflite"}, "its format is onnx, not tflite"),
        ({"precision": "int8"}, "its precision is fp32, not int8"),
        ({"size": (32, 48)}, "its input size is 64x96, not 32x48"),
        ({"output": "labels"}, "its output is logits, not labels"),
        ({"calibrator": "native"}, "its calibrator is edgeseg, not native"),
        ({"weights": "1" * 64}, "its weights' hash is 000000000000, not 111111111111"),
    ],
)
def test_another_artifact_is_replaced_with_force_alone(changes: dict[str, object], message: str, folder: Path) -> None:
    spec = spec_of(folder)
    if "size" in changes:
        high, wide = changes["size"]  # type: ignore[misc]
        tensor = dataclasses.replace(spec.inputs[0], shape=(1, high, wide, 3))
        spec = dataclasses.replace(spec, inputs=(tensor,))
    if "weights" in changes:
        spec = dataclasses.replace(spec, weights_sha256=str(changes["weights"]))
    output = str(changes.get("output", "logits"))
    names = {key: str(value) for key, value in changes.items() if key in ("file_format", "precision", "calibrator")}
    with pytest.raises(InputError, match=rf"holds another artifact: {message}.*--force"):
        refuse_replacing(planned(folder, **names), spec=spec, output=output, force=False)
    refuse_replacing(planned(folder, **names), spec=spec, output=output, force=True)


def test_a_conversion_asks_before_any_work(folder: Path) -> None:
    request = ConversionRequest(target="onnx", precision="fp32", out=folder)
    with pytest.raises(InputError, match="holds another artifact"):
        plan_for_targets("fast_scnn:streets-half", request)
    plan_for_targets("fast_scnn:streets-half", dataclasses.replace(request, force=True))


def test_force_does_not_reach_folders_that_edgeseg_did_not_make(folder: Path) -> None:
    spec = spec_of(folder)
    (folder / ".edgeseg").unlink()
    with pytest.raises(InputError, match="not made by edgeseg"):
        refuse_replacing(planned(folder), spec=spec, output="logits", force=True)


def test_a_training_run_is_not_replaced_by_an_artifact(tmp_path: Path, folder: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    (run / ".edgeseg").touch()
    for name in ("state.safetensors", "checkpoint/weights.safetensors"):
        (run / name).write_bytes(b"days of training")
    spec = spec_of(folder)
    with pytest.raises(InputError, match="run: holds something else that edgeseg made, such as a training run"):
        refuse_replacing(planned(run), spec=spec, output="logits", force=False)
    refuse_replacing(planned(run), spec=spec, output="logits", force=True)
    (run / "manifest.json").write_text("damaged")
    refuse_replacing(planned(run), spec=spec, output="logits", force=False)


def test_a_damaged_artifact_may_be_replaced(folder: Path) -> None:
    spec = spec_of(folder)
    (folder / "model.onnx").write_bytes(b"")
    refuse_replacing(planned(folder, file_format="tflite"), spec=spec, output="logits", force=False)


def test_the_folders_name_holds_size_and_output_where_they_are_not_the_usual(folder: Path) -> None:
    spec = spec_of(folder)
    assert distinct_name(spec, own_size=(64, 96), output="logits") == "tiny"
    assert distinct_name(spec, own_size=(32, 48), output="labels") == "tiny-64x96-labels"
    assert distinct_name(dataclasses.replace(spec, name="a:b/c"), own_size=(64, 96), output="logits") == "a-b-c"


def test_at_a_stride_of_one_full_labels_replace_themselves(folder: Path) -> None:
    there = open_artifact(folder).manifest
    head = dataclasses.replace(there.outputs[0], role="labels")
    spec = dataclasses.replace(there.spec, output_stride=1)
    write_json(dataclasses.replace(there, outputs=(head,), spec=spec).sealed(), folder / MANIFEST)
    refuse_replacing(planned(folder), spec=spec, output="full", force=False)
    with pytest.raises(InputError, match="its output is labels, not logits"):
        refuse_replacing(planned(folder), spec=spec, output="logits", force=False)
