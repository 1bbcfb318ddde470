"""The commands of docs/model-files.md, one after the other, on a small ONNX file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from deploy.foreign_files import write_dynamic_onnx

from edgeseg.cli.main import main, parser
from edgeseg.core.artifact import open_artifact
from edgeseg.core.spec_file import read_spec_file

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "model-files.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_each_command_is_one_that_the_parser_takes_and_the_spec_can_be_read(tmp_path: Path) -> None:
    for line in block("bash").splitlines():
        options, unknown = parser().parse_known_args(shlex.split(line)[1:])
        assert unknown == []
        assert callable(options.run)
    (tmp_path / "spec.toml").write_text(block("toml"), encoding="utf-8")
    assert read_spec_file(tmp_path / "spec.toml").file.output == "shares"


@pytest.mark.slow
def test_the_pages_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dynamic_onnx(tmp_path / "model.onnx")
    (tmp_path / "spec.toml").write_text(block("toml"), encoding="utf-8")
    for line in block("bash").splitlines():
        assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
    theirs, narrow = (open_artifact(tmp_path / "artifacts" / name).manifest for name in ("theirs", "theirs-int8"))
    assert (theirs.origin, theirs.proof.level, theirs.scheme.name) == ("foreign", "file", "fp32")
    assert (narrow.origin, narrow.proof.level, narrow.scheme.name) == ("converted", "engine", "int8")
    assert narrow.parity.label_agreement > 0.95
