"""The commands of docs/model-files.md, one after the other, on a small ONNX file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.foreign_files import write_dynamic_onnx

from edgeseg.cli.main import main
from edgeseg.core.artifact import open_artifact

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "model-files.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_dynamic_onnx(tmp_path / "model.onnx")
    (tmp_path / "spec.toml").write_text(block("toml"), encoding="utf-8")
    for line in block("bash").splitlines():
        assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
    theirs, narrow = (open_artifact(tmp_path / "artifacts" / name).manifest for name in ("theirs", "theirs-int8"))
    assert (theirs.origin, theirs.proof.level, theirs.scheme.name) == ("foreign", "file", "fp32")
    assert (narrow.origin, narrow.proof.level, narrow.scheme.name) == ("converted", "engine", "int8")
    assert narrow.parity.label_agreement > 0.95
    assert "theirs" in capsys.readouterr().out
