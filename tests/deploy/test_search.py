"""A search among precisions and heads: each target keeps its folder, other artifacts stay, refused ones are shown."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contracts import tiny_artifact as tiny
from contracts.deployable import deployable

from edgeseg.core.artifact import MANIFEST, Artifact, open_artifact
from edgeseg.core.files import MARKER, write_json
from edgeseg.core.quantization import SCHEMES
from edgeseg.deploy import gate
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.errors import GateError, InputError
from edgeseg.models.checkpoint import read_spec, save_checkpoint
from edgeseg.verbs.convert import convert, plan_conversion

if TYPE_CHECKING:
    from edgeseg.deploy.plan import PlannedArtifact

BOARD = """
schema = 1
name = "board"
title = "A board"
soc = "a chip"
arch = "x86_64"
memory_mb = 1024
[[backends]]
format = "onnx"
engine = "onnxruntime"
schemes = ["fp16"]
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = deployable(short=True)
    folder = tmp_path_factory.mktemp("net") / "net"
    save_checkpoint(folder, net=small.net, spec=small.spec)
    return folder


def board(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "board.toml").write_text(BOARD, encoding="utf-8")
    return str(folder / "board.toml")


def tiny_with(folder: Path, *, precision: str, weights: str, target: str = "onnx", output: str = "logits") -> Artifact:
    made = tiny.make_artifact(folder, file_format="onnx").manifest
    head = dataclasses.replace(made.outputs[0], role="logits" if output == "logits" else "labels")
    spec = dataclasses.replace(made.spec, weights_sha256=weights)
    changed = dataclasses.replace(made, target=target, scheme=SCHEMES[precision], spec=spec, outputs=(head,))
    write_json(changed.sealed(), folder / MANIFEST)
    return open_artifact(folder)


def only(monkeypatch: pytest.MonkeyPatch, precision: str, *, others_for_real: bool = False) -> None:
    """Let a tiny artifact be made in one precision, and refuse every other, unless they are converted for real."""
    job_class = importlib.import_module("edgeseg.deploy.convert")._Job
    really = job_class.make

    def make(job: Any, item: PlannedArtifact, **options: Path) -> Artifact:
        if item.precision == precision:
            weights = job.checkpoint.spec.weights_sha256
            return tiny_with(item.path, precision=precision, weights=weights, target=item.target)
        if others_for_real:
            made: Artifact = really(job, item, **options)
            return made
        raise GateError(f"{item.precision} is refused: too noisy. The artifact was not written.")

    monkeypatch.setattr(job_class, "make", make)


def test_every_target_keeps_its_own_folder(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    only(monkeypatch, "fp16")
    targets = ("onnx", board(tmp_path / "a"), board(tmp_path / "b"))
    made = convert(checkpoint, target=targets, max_drop=1.0, out=tmp_path / "all")
    names = ["small-onnx-fp16-onnx", "small-onnx-fp16-a-board", "small-onnx-fp16-b-board"]
    assert [item.folder.name for item in made] == names
    assert tuple(open_artifact(tmp_path / "all" / name).manifest.target for name in names) == targets


def test_targets_of_other_precisions_may_end_with_the_same(checkpoint: Path, tmp_path: Path) -> None:
    request = ConversionRequest(target=("onnx", board(tmp_path / "a")), output="auto", out=tmp_path / "all")
    first, second = plan_conversion(checkpoint, request).artifacts
    assert (first.precision, second.precision) == ("fp32", "fp16")
    assert len({item.path for item in (*first.candidates, *second.candidates)}) == 12


@pytest.mark.parametrize("named", [True, False])
def test_the_same_search_again_replaces_its_result(
    named: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    for precision in ("fp16", "fp16", "fp32"):
        only(monkeypatch, precision)
        (made,) = convert(checkpoint, target="onnx", max_drop=1.0, out=tmp_path / "out" if named else None)
        assert made.manifest.scheme.name == precision
    folders = sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(MANIFEST))
    assert folders == (["out"] if named else ["artifacts/small-onnx-fp16", "artifacts/small-onnx-fp32"])


def test_no_folder_that_may_be_chosen_holds_another_artifact(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = Path("artifacts/small-onnx-fp16")
    before = tiny_with(there, precision="fp16", weights="1" * 64)
    (there / MARKER).touch()
    request = ConversionRequest(target="onnx", max_drop=0.01)
    with pytest.raises(InputError, match=r"small-onnx-fp16: holds another artifact: its weights' hash is 1+, not "):
        plan_conversion(checkpoint, request)
    plan_conversion(checkpoint, dataclasses.replace(request, force=True))
    plan_conversion(checkpoint, dataclasses.replace(request, precision="fp32"))
    assert open_artifact(there).sha256 == before.sha256
    (there / MARKER).unlink()
    with pytest.raises(InputError, match="small-onnx-fp16: this folder was not made by edgeseg"):
        plan_conversion(checkpoint, dataclasses.replace(request, force=True))


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("fp32", {"max_drop": 0.01}, "its precision is fp32 as asked for, not the best of fp32, fp16. "),
        ("int8", {"max_drop": 0.01}, "its precision is int8, not fp32 or fp16. "),
        (
            "fp32",
            {"precision": "fp32", "output": "auto"},
            "its output is logits as asked for, not the best of logits, ",
        ),
        ("fp32", {"precision": "fp32", "max_drop": 0.01}, ""),
    ],
)
def test_what_was_asked_for_is_not_replaced_by_what_is_chosen(
    precision: str, options: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    weights = read_spec(checkpoint).weights_sha256
    tiny_with(tmp_path / "out", precision=precision, weights=weights)
    (tmp_path / "out" / MARKER).touch()
    request = ConversionRequest(target="onnx", out=tmp_path / "out", **options)
    if not message:
        plan_conversion(checkpoint, request)
        return
    with pytest.raises(InputError, match=rf"out: holds another artifact: {message}"):
        plan_conversion(checkpoint, request)


def refuse_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gate.THRESHOLDS, 24, dataclasses.replace(gate.THRESHOLDS[24], sqnr_db=1000.0))


def test_a_refused_candidate_is_shown_beside_what_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    refuse_fp32(monkeypatch)
    only(monkeypatch, "fp16", others_for_real=True)
    (made,) = convert(checkpoint, target="onnx", max_drop=1.0, out=tmp_path / "out")
    choice = made.manifest.choice
    assert choice is not None
    best, refused = sorted(choice.candidates, key=lambda item: item.precision)
    assert (best.chosen, refused.precision) == (True, "fp32")
    assert refused.reason.endswith(f": {tmp_path / 'out-fp32-logits-refused.png'}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-fp32-logits-refused.png"]


def test_where_nothing_is_written_the_images_named_are_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    refuse_fp32(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GateError, match="No candidate could be made") as refusal:
        convert(checkpoint, target="onnx", precision="fp32", max_drop=0.01)
    (image,) = re.findall(r"\S+-refused\.png", str(refusal.value))
    assert image == "artifacts/small-onnx-fp32-refused.png"
    assert Path(image).stat().st_size > 1000
