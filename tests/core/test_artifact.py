"""An artifact is what its manifest lists: bound, confined, whole; and the first ones still open."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import MANIFEST, open_artifact
from edgeseg.core.manifest_schema import digest
from edgeseg.errors import ArtifactError
from edgeseg.runtime import load, verify

if TYPE_CHECKING:
    from collections.abc import Callable

STORED = Path(__file__).parents[1] / "stored" / "artifact-schema-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_artifact(tmp_path / "a").folder


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a manifest and seal it again, as somebody would who recomputes the hashes."""
    path = folder / MANIFEST
    table = json.loads(path.read_text())
    edit(table)
    table["self_sha256"] = digest(table)
    path.write_text(json.dumps(table))


def test_an_artifact_of_the_first_schema_opens_verifies_and_runs() -> None:
    pytest.importorskip("onnxruntime")
    artifact = open_artifact(STORED)
    assert artifact.sha256 == "aead739d9b93db79f23c9f51c3ca31a5c4ac1b7e2cc79c9e79083be25bb99317"
    manifest = artifact.manifest
    assert (manifest.schema, manifest.backend.engine, manifest.backend.threads) == (1, "onnxruntime", None)
    assert (manifest.proof.level, manifest.origin, manifest.placements) == ("engine", "converted", ())
    assert manifest.preprocess == manifest.spec.preprocess
    assert verify(STORED).agreement == 1.0
    with load(STORED, threads=1) as session:
        assert session.segment(tiny.image()).shape == tiny.SIZE


def test_todays_schema_round_trips_and_says_how_to_run_the_artifact(folder: Path) -> None:
    table = json.loads((folder / MANIFEST).read_text())
    assert table["schema"] == 3
    assert table["backend"] == {"engine": "litert", "delegate": "", "threads": None, "options": {}}
    assert table["proof"]["level"] == "engine"
    assert table["preprocess"]["in_graph"] is True
    assert open_artifact(folder).manifest.sealed().self_sha256 == table["self_sha256"]


def test_another_schema_is_answered_with_what_to_do(folder: Path) -> None:
    change(folder, lambda table: table.update(schema=4))
    with pytest.raises(ArtifactError, match=r"manifest schema 4; this edgeseg reads schemas 1 to 3.*update edgeseg"):
        open_artifact(folder)


def test_a_changed_manifest_is_found(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"tiny-tflite"', '"other"'))
    with pytest.raises(ArtifactError, match="altered after the conversion"):
        open_artifact(folder)


def _unlist(name: str) -> Callable[[dict[str, Any]], None]:
    def edit(table: dict[str, Any]) -> None:
        table["files"] = [file for file in table["files"] if file["path"] != name]

    return edit


def _listed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def edit(table: dict[str, Any]) -> None:
        next(file for file in table["files"] if file["path"] == old)["path"] = new

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_unlist("model.tflite"), "entry is 'model.tflite', which is not in its list of files"),
        (_unlist("golden/expected.png"), "expected is 'golden/expected.png', which is not in its list"),
        (_unlist("golden/reference.png"), "reference is"),
        (lambda table: table.update(files=[]), r"files: has 0 entries"),
        (lambda table: table.update(entry="../a/model.tflite"), "not a path inside the folder"),
        (lambda table: table.update(entry="/etc/passwd"), "not a path inside the folder"),
        (lambda table: table.update(entry="C:/model.tflite"), "not a path inside the folder"),
        (lambda table: table.update(entry="."), "not a path inside the folder"),
        (lambda table: table.update(entry=""), "not a path inside the folder"),
        (lambda table: table.update(entry="./model.tflite"), "not a path inside the folder"),
        (_listed("model.tflite", "../model.tflite"), "not in its list of files"),
        (lambda table: table["files"].append(table["files"][0]), "twice"),
        (lambda table: table["golden"].update(image="/etc/hostname"), "not a path inside the folder"),
        (lambda table: table["golden"].update(min_agreement=0.0), r"min_agreement: 0\.0 is out of range"),
        (lambda table: table["golden"].update(min_agreement=1.5), r"min_agreement: 1\.5 is out of range"),
        (lambda table: table["golden"].update(min_agreement=float("nan")), "NaN is not a number that JSON has"),
        (lambda table: table.update(inputs=[]), "inputs: has 0 entries; it must have 1"),
        (lambda table: table.update(outputs=table["outputs"] * 2), "outputs: has 2 entries; it must have 1"),
        (lambda table: table["files"][0].update(size_bytes=-1), "size_bytes: -1 is out of range"),
        (lambda table: table["backend"].update(threads=0), "threads: 0 is out of range"),
        (lambda table: table["parity"].update(label_agreement=5.0), "label_agreement: 5.0 is out of range"),
        (lambda table: table.update(name="\x1b[31m"), r"U\+001B"),
        (lambda table: table["spec"].update(output_stride=0), "output_stride: 0 is out of range"),
        (lambda table: table["proof"].update(level="sure"), "expected one of device, engine"),
    ],
)
def test_a_manifest_that_binds_too_little_or_reaches_outside_is_refused_though_its_hash_fits(
    edit: Callable[[dict[str, Any]], object], message: str, folder: Path
) -> None:
    change(folder, edit)
    with pytest.raises(ArtifactError, match=message) as caught:
        open_artifact(folder)
    assert str(caught.value).isprintable()


def test_a_file_that_no_checksum_covers_is_refused(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "weights.bin").touch()
    with pytest.raises(ArtifactError, match=r"weights\.bin: is not part of this artifact"):
        open_artifact(folder)


def test_receipts_and_the_marker_are_no_part_of_it(folder: Path) -> None:
    (folder / ".edgeseg").touch()
    (folder / "receipts").mkdir()
    (folder / "receipts" / "pi.json").write_text("{}")
    (folder / "receipts" / ".pi.json.17-ab.partial").write_text("{")  # a kill while it was written
    open_artifact(folder)
    (folder / "receipts" / "pi.so").touch()
    with pytest.raises(ArtifactError, match=r"pi\.so: is not part"):
        open_artifact(folder)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
@pytest.mark.parametrize("name", ["model.tflite", "golden", "receipts", "extra"])
def test_links_are_refused_wherever_they_lead(name: str, folder: Path, tmp_path: Path) -> None:
    if (folder / name).exists():
        shutil.move(folder / name, tmp_path / name)
    else:
        (tmp_path / name).mkdir()
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a link"):
        open_artifact(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ArtifactError, match="special file"):
        open_artifact(folder)


def test_a_manifest_names_its_folder(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=f"Give its folder: {re.escape(str(folder))}"):
        open_artifact(folder / MANIFEST)


def test_names_that_no_system_takes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        open_artifact(tmp_path / "a\0b")
