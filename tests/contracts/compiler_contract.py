"""What every compiler promises; a compiler's test is a subclass of two lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeseg.core.artifact import open_artifact
from edgeseg.core.protocols import Compiler
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import UnknownName, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact


class CompilerContract:
    """`compiler` is registered under its name while a test runs; `source` makes an artifact that it takes."""

    def compiler(self) -> Compiler:
        raise AssertionError("a subclass names its compiler")

    def source(self, folder: Path) -> Artifact:
        raise AssertionError("a subclass makes what its compiler takes")

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.compiler()
        monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: found)

    def test_it_is_a_compiler_and_its_check_is_quick(self) -> None:
        compiler = self.compiler()
        assert isinstance(compiler, Compiler)
        assert compiler.title
        assert compiler.suffix.startswith(".")
        assert all(compiler.options.values())
        compiler.check()

    def test_the_artifact_names_its_source_and_its_proof(self, tmp_path: Path) -> None:
        source = self.source(tmp_path / "source")
        made = compile_artifact(source.folder, compiler=self.compiler().name, out=tmp_path / "out")
        manifest = open_artifact(made.folder).manifest
        assert manifest.lineage.source_artifact == source.sha256
        assert manifest.origin == "compiled"
        assert manifest.format == self.compiler().format
        assert manifest.entry.endswith(self.compiler().suffix)
        assert manifest.placements
        assert manifest.proof.level in ("engine", "simulator", "reference", "source")
        assert manifest.proof.level == "engine" or manifest.proof.reason

    def test_an_option_that_it_lacks_is_refused(self, tmp_path: Path) -> None:
        source = self.source(tmp_path / "source")
        with pytest.raises(UnknownName, match="no-such-option"):
            compile_artifact(source.folder, compiler="x", options={"no-such-option": "1"}, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_another_format_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        from contracts.tiny_artifact import make_artifact

        other = "tflite" if self.compiler().reads != "tflite" else "openvino"
        source = make_artifact(tmp_path / "source", file_format=other)
        with pytest.raises(UnsupportedError, match=f"edgeseg convert --target {self.compiler().reads}"):
            compile_artifact(source.folder, compiler="x", out=tmp_path / "out")
