"""The arbiter keeps the fastest candidate within the bound, says why, and enforces the bound on what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.deployable import deployable

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.choice import Candidate
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.core.trust import is_known
from edgeseg.deploy.arbiter import Rules, choose, decide, usable
from edgeseg.deploy.reference import Reference
from edgeseg.errors import GateError, InputError, UnsupportedError
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.runtime import verify
from edgeseg.verbs.convert import convert

if TYPE_CHECKING:
    from pathlib import Path


def candidate(precision: str, p50_ms: float, drop: float, *, output: str = "logits", size: int = 100) -> Candidate:
    return Candidate(precision=precision, output=output, p50_ms=p50_ms, drop=drop, size_bytes=size)


def chosen(*items: Candidate, max_drop: float | None) -> str:
    found = [f"{item.precision}-{item.output}" for item in decide(items, max_drop=max_drop) if item.chosen]
    assert len(found) <= 1
    return found[0] if found else ""


def test_the_fastest_within_the_bound_is_chosen() -> None:
    fp32, int8 = candidate("fp32", 10.0, 0.0), candidate("int8", 4.0, 0.008)
    assert chosen(fp32, int8, max_drop=0.01) == "int8-logits"
    assert chosen(fp32, int8, max_drop=0.005) == "fp32-logits"
    assert chosen(candidate("int8", 4.0, 0.2), max_drop=0.1) == ""


def test_an_int8_that_is_not_faster_loses_to_one_that_loses_less() -> None:
    fp32, int8 = candidate("fp32", 10.0, 0.0, size=400), candidate("int8", 9.9, 0.008, size=100)
    assert chosen(fp32, int8, max_drop=0.01) == "fp32-logits"
    slower = decide((fp32, candidate("int8", 14.0, 0.008)), max_drop=0.01)[1]
    assert slower.reason == "1.40 times as slow"


def test_without_a_bound_only_exact_heads_compete() -> None:
    items = (
        candidate("int8", 4.0, 0.01),
        candidate("int8", 3.0, 0.03, output="labels"),
        candidate("int8", 3.5, 0.01, output="full"),
    )
    assert chosen(*items, max_drop=None) == "int8-full"
    assert decide(items, max_drop=None)[1].reason == "coarser labels"
    assert chosen(*items, max_drop=0.05) == "int8-labels"


def test_integers_need_ranges() -> None:
    assert usable(("fp32", "fp16", "int8"), has_ranges=False) == ("fp32", "fp16")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = deployable()
    folder = tmp_path_factory.mktemp("net") / "net"
    save_checkpoint(folder, net=small.net, spec=small.spec)
    return folder


@pytest.mark.slow
def test_every_head_is_measured_and_the_table_is_in_the_manifest(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    (made,) = convert(
        checkpoint, target="onnx", precision="fp32", output="auto", opset=17, ir_version=8, out=tmp_path / "out"
    )
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    assert {item.key for item in model.metadata_props} >= {"classes", "palette", "preprocess"}
    assert is_known(made, engine="onnxruntime"), "the table does not change the artifact's hash"
    choice = open_artifact(tmp_path / "out").manifest.choice
    assert choice is not None
    assert sorted(item.output for item in choice.candidates) == ["full", "labels", "logits"]
    assert all(item.p50_ms is not None and item.reason for item in choice.candidates)
    drops = {item.output: item.drop for item in choice.candidates}
    assert drops["logits"] is not None
    assert drops["full"] is not None
    assert max(drops["logits"], drops["full"]) < 0.001, "both decode exactly"
    (best,) = [item for item in choice.candidates if item.chosen]
    assert best.output != "labels"
    assert made.manifest.outputs[0].size == ((64, 96) if best.output == "full" else (8, 12))
    assert verify(made.folder).agreement == 1.0


def test_versions_that_cannot_be_written_are_refused_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ONNX opset 9: give 13 to 20"):
        convert(checkpoint, target="onnx", opset=9, out=tmp_path / "out")
    with pytest.raises(UnsupportedError, match="TFLite has no opset"):
        convert(checkpoint, target="tflite", opset=17, out=tmp_path / "out")


def test_where_nothing_can_be_made_every_reason_is_given(tmp_path: Path) -> None:
    def make(precision: str, output: str, folder: Path) -> Artifact:
        raise GateError(f"small-onnx-{precision} is refused: too noisy. The artifact was not written.")

    rules = Rules(precisions=("fp32", "int8"), outputs=("logits",), max_drop=0.01)
    with pytest.raises(GateError, match=r"No candidate could be made\. small-onnx-fp32 is refused.*int8 is refused"):
        choose(rules, make=make, reference=reference(), finish=lambda precision, output: tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bound_that_nothing_meets_writes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    rules = Rules(precisions=("fp32",), outputs=("logits",), max_drop=0.01)
    with pytest.raises(GateError, match=r"No candidate loses at most 1\.00 points of labels: the least is \d+"):
        choose(rules, make=tiny_one, reference=reference(), finish=lambda precision, output: tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_winner_is_written_whole_with_the_table(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    rules = Rules(precisions=("fp32",), outputs=("logits",), max_drop=1.0)
    made = choose(rules, make=tiny_one, reference=reference(), finish=lambda precision, output: tmp_path / "out")
    choice = open_artifact(tmp_path / "out").manifest.choice
    assert choice is not None
    assert (choice.measure, choice.max_drop, choice.display) == ("labels", 1.0, tiny.SIZE)
    assert [(item.precision, item.chosen) for item in choice.candidates] == [("fp32", True)]
    assert verify(made.folder).agreement == 1.0


def tiny_one(precision: str, output: str, folder: Path) -> Artifact:
    return tiny.make_artifact(folder, file_format="onnx")


def reference() -> Reference:
    """Return a float net of the tiny artifact's classes that says something else altogether."""
    artifact_logits = np.random.default_rng(0).normal(size=(1, 8, 12, len(tiny.CLASSES))).astype(np.float32)
    pixels = TensorSpec(name="pixels", shape=(1, 3, *tiny.SIZE), dtype="float32", layout="NCHW", role="image")
    tensor = TensorSpec(name="logits", shape=(1, 8, 12, 4), dtype="float32", layout="NHWC", role="logits")
    spec = ModelSpec(
        name="net", architecture="none", classes=tiny.CLASSES, palette=tiny.PALETTE, ignore_index=255, inputs=(pixels,),
        outputs=(tensor,), preprocess=Preprocess(), output_stride=8, weights_sha256="0" * 64, licence="Apache-2.0",
    )  # fmt: skip
    return Reference(spec=spec, images=(tiny.image(),), logits=(artifact_logits,), tensor=tensor, rms=1.0)
