"""`--untrusted`: an artifact made to kill its engine ends in one line, not in the death of edgeseg."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main
from edgeseg.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "verb",
    [
        ["run", "A", "--headless", "--frames", "1"],
        ["predict", "A", "image.png"],
        ["bench", "A"],
        ["flicker", "A", "--source", "synthetic"],
        ["validate", "A", "--data", "streets:1"],
    ],
    ids=lambda verb: str(verb[0]),
)
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
