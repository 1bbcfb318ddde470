"""An artifact made to kill its engine ends in one line, not in the death of edgeseg; a known one opens directly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import pytest
from contracts import tiny_artifact as tiny
from contracts.crashing import segfault
from contracts.fake_compiler import FakeCompiler

from edgeseg.cli.main import main
from edgeseg.core import trust
from edgeseg.core.artifact import open_artifact
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import ArtifactError
from edgeseg.runtime import load
from edgeseg.runtime.session import opening, verify

if TYPE_CHECKING:
    from pathlib import Path


VERBS = pytest.mark.parametrize(
    "verb",
    [
        ["run", "A", "--headless", "--frames", "1"],
        ["predict", "A", "I"],
        ["bench", "A", "--runs", "1", "--warmup", "1"],
        ["flicker", "A", "--source", "synthetic", "--frames", "3"],
        ["validate", "A", "--data", "streets:1"],
    ],
    ids=lambda verb: str(verb[0]),
)


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """Return an artifact that this machine has not seen."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "artifact"
    tiny.make_artifact(folder, file_format="onnx")
    content = bytearray((folder / "golden" / "image.png").read_bytes())
    (folder / "golden" / "image.png").write_bytes(content + tmp_path.name.encode())
    tiny.reseal(folder)
    return folder


@VERBS
def test_an_artifact_of_unknown_origin_that_crashes_its_engine_is_one_line(
    verb: list[str], unknown: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "compare_with_golden", segfault)
    image = unknown.parent / "i.png"
    cv2.imwrite(str(image), tiny.image())
    words = [{"A": str(unknown), "I": str(image)}.get(word, word) for word in verb]
    assert main(words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert "SIGSEGV: the model file is damaged or hostile" in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_compile_tries_out_an_unknown_source_before_its_tool_runs(
    unknown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: FakeCompiler())
    monkeypatch.setattr(FakeCompiler, "compile", None)
    monkeypatch.setattr(verify, "compare_with_golden", segfault)
    with pytest.raises(ArtifactError, match="SIGSEGV"):
        compile_artifact(unknown, compiler="copier", out=unknown.parent / "out")


def test_an_unknown_artifact_is_tried_out_once_and_then_known(unknown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []

    def once(folder: Path, **words: object) -> None:
        tried.append(folder)

    monkeypatch.setattr(opening, "try_out", once)
    for _ in range(2):
        load(unknown, threads=1).close()
    assert tried == [unknown]
    # Another process knows it too, by its hash and not by its place.
    monkeypatch.setattr(trust, "_here", {})
    moved = unknown.rename(unknown.with_name("moved"))
    load(moved, threads=1).close()
    assert tried == [unknown]
    # A byte more is another artifact.
    (moved / "golden" / "image.png").write_bytes((moved / "golden" / "image.png").read_bytes() + b"!")
    tiny.reseal(moved)
    load(moved, threads=1).close()
    assert tried == [unknown, moved]


def test_an_artifact_known_on_one_engine_is_tried_out_on_another(unknown: Path) -> None:
    artifact = open_artifact(unknown)
    trust.remember(artifact, how="ran", engine="onnxruntime")
    assert trust.is_known(artifact, engine="onnxruntime")
    assert not trust.is_known(artifact, engine="openvino")
    trust.remember(artifact, how="vouched")
    assert trust.is_known(artifact, engine="openvino")


ANOTHERS = {"schema": 1, "artifact": "a", "artifact_sha256": "0" * 64, "engines": {"*": "vouched"}}


@pytest.mark.parametrize("content", ["{", '{"schema": 9}', "[]", json.dumps(ANOTHERS)])
def test_a_damaged_record_of_trust_trusts_nothing(content: str, unknown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = open_artifact(unknown)
    place = trust.state_folder() / "artifacts" / f"{artifact.sha256}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    assert not trust.is_known(artifact, engine="onnxruntime")


def test_without_a_place_to_remember_it_is_known_to_this_process(
    unknown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(trust.STATE_VARIABLE, str(tmp_path / "file" / "state"))
    artifact = open_artifact(unknown)
    trust.remember(artifact, how="ran", engine="onnxruntime")
    assert trust.is_known(artifact, engine="onnxruntime")


def test_trusted_opens_directly_and_is_remembered(unknown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "compare_with_golden", segfault)
    words = ["run", str(unknown), "--source", "synthetic:1", "--headless", "--frames", "1"]
    assert main([*words, "--trusted"]) == 0
    assert main(words) == 0


@VERBS
def test_an_untrusted_artifact_is_verified_before_the_verb_opens_it(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "artifact"
    tiny.make_artifact(folder)
    seen: list[Path] = []

    def refuse(artifact: Path, **_: object) -> None:
        seen.append(artifact)
        raise ArtifactError(f"{artifact}: the engine crashed on it.")

    monkeypatch.setattr("edgeseg.runtime.verify", refuse)
    assert main([*(str(folder) if word == "A" else word for word in verb), "--untrusted"]) == 1
    assert seen == [folder]
    assert capsys.readouterr().err.count("the engine crashed on it") == 1


def test_an_untrusted_artifact_that_holds_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "artifact"
    tiny.make_artifact(folder)
    assert main(["run", str(folder), "--source", "synthetic:1", "--headless", "--frames", "2", "--untrusted"]) == 0
    assert "2 frames" in capsys.readouterr().out
