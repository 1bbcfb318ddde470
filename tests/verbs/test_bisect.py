"""`bisect` names the rung and the layer of each planted fault, without relying on names in the file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts.crashing import segfault
from contracts.deployable import deployable

from edgeseg.analyze.artifact_sqnr import artifact_sqnr
from edgeseg.analyze.bisect import Bisection, bisect
from edgeseg.cli.main import main
from edgeseg.core.artifact import MANIFEST, list_files, open_artifact
from edgeseg.core.files import write_json
from edgeseg.errors import ArtifactError
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.runtime.session import opening, verify
from edgeseg.verbs.convert import convert

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = deployable()
    folder = tmp_path_factory.mktemp("net") / "net"
    save_checkpoint(folder, net=small.net, spec=small.spec)
    return folder


@pytest.fixture(scope="module")
def good(checkpoint: Path) -> Path:
    (made,) = convert(checkpoint, target="onnx", precision="fp32", out=checkpoint.parent / "good")
    return made.folder


def edited(good: Path, folder: Path, change: Callable[[object], None]) -> Path:
    """Return a copy of an artifact with its ONNX graph changed, sealed as if nothing were wrong."""
    shutil.copytree(good, folder)
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    onnx.save(model, str(folder / "model.onnx"))
    return resealed(folder)


def resealed(folder: Path, **changes: object) -> Path:
    manifest = open_unchecked(folder)
    write_json(dataclasses.replace(manifest, files=list_files(folder), **changes).sealed(), folder / MANIFEST)
    return folder


def open_unchecked(folder: Path) -> object:
    from edgeseg.core.artifact import Manifest
    from edgeseg.core.files import read_json_value
    from edgeseg.core.records import decode_record

    return decode_record(Manifest, read_json_value(folder / MANIFEST), where=MANIFEST)


def _constant(graph: object, name: str) -> tuple[object, np.ndarray]:
    tensor = next(item for item in graph.initializer if item.name == name)  # type: ignore[attr-defined]
    return tensor, onnx.numpy_helper.to_array(tensor).copy()


def _store(tensor: object, values: np.ndarray) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))  # type: ignore[attr-defined]


def _first(graph: object, op: str) -> object:
    return next(node for node in graph.node if node.op_type == op)  # type: ignore[attr-defined]


def wrong_mean(graph: object) -> None:
    tensor, values = _constant(graph, _first(graph, "Add").input[1])  # type: ignore[attr-defined]
    _store(tensor, values + 0.5)


def swapped_channels(graph: object) -> None:
    for op in ("Mul", "Add"):
        tensor, values = _constant(graph, _first(graph, op).input[1])  # type: ignore[attr-defined]
        _store(tensor, values[..., ::-1])


def _resize(graph: object, **attributes: str) -> None:
    # The last one: those of the pyramid enlarge a single cell here, which any mode does alike.
    resize = [node for node in graph.node if node.op_type == "Resize"][-1]  # type: ignore[attr-defined]
    for attribute in resize.attribute:
        if attribute.name in attributes:
            attribute.s = attributes[attribute.name].encode()


def per_tensor_weights(graph: object) -> None:
    convolution = [node for node in graph.node if node.op_type == "Conv"][6]  # type: ignore[attr-defined]
    tensor, values = _constant(graph, convolution.input[1])
    step = np.abs(values).max() / 3
    _store(tensor, (np.rint(values / step) * step).astype(np.float32))


FAULTS: dict[str, tuple[Callable[[object], None], str, str]] = {
    "wrong mean": (wrong_mean, ":add", "normalised otherwise"),
    "swapped channels": (swapped_channels, ":mul", "order of the colours"),
    "align_corners": (
        lambda graph: _resize(graph, coordinate_transformation_mode="align_corners"), "upsample", "align_corners"
    ),
    "nearest": (lambda graph: _resize(graph, mode="nearest"), "upsample", "nearest for bilinear"),
    "coarse weights": (per_tensor_weights, ":conv2d", "Its weights in the file are not the checkpoint's"),
}  # fmt: skip


QUICK = ("wrong mean", "nearest")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)
def test_a_planted_fault_is_named(name: str, good: Path, checkpoint: Path, tmp_path: Path) -> None:
    change, layer, fix = FAULTS[name]
    found = bisect(edited(good, tmp_path / "bad", change), checkpoint=str(checkpoint), count=1)
    assert [rung.name for rung in found.rungs if not rung.holds] == ["artifact"]
    assert found.rung == "artifact"
    assert layer in found.layer, found
    assert fix in found.fix


def renamed(graph: object) -> None:
    """Change the file's hash, and nothing that it computes."""
    graph.doc_string = "unknown here"  # type: ignore[attr-defined]


def test_an_unknown_artifact_first_runs_in_a_process_of_its_own(
    good: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "compare_with_golden", segfault)
    with pytest.raises(ArtifactError, match="SIGSEGV"):
        bisect(edited(good, tmp_path / "bad", renamed), checkpoint=str(checkpoint), count=1)


def test_debug_quant_tries_out_an_artifact_before_it_reads_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_artifact: object, *, engine: str) -> None:
        raise ArtifactError(engine)

    monkeypatch.setattr(opening, "assure", refuse)
    manifest = SimpleNamespace(format="onnx", scheme=SimpleNamespace(name="int8"))
    with pytest.raises(ArtifactError, match="onnxruntime"):
        artifact_sqnr(SimpleNamespace(manifest=manifest), None, ())  # type: ignore[arg-type]


def test_a_good_artifact_has_no_divergence(good: Path, checkpoint: Path) -> None:
    found = bisect(good, checkpoint=str(checkpoint))
    assert isinstance(found, Bisection)
    assert (found.rung, found.layer, found.fix) == ("", "", "")
    assert [rung.name for rung in found.rungs] == ["exported", "artifact"]
    assert all(rung.label_agreement > 0.999 for rung in found.rungs)


def test_other_preprocessing_is_the_first_rung_and_the_status_is_3(
    good: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(good, tmp_path / "bad")
    preprocess = open_artifact(good).manifest.preprocess
    resealed(tmp_path / "bad", preprocess=dataclasses.replace(preprocess, color_order="bgr"))
    assert main(["bisect", str(tmp_path / "bad"), "--checkpoint", str(checkpoint), "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["rung"], said["layer"]) == ("preprocess", "preprocess.color_order")
