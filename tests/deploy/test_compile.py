"""`compile`: an artifact through a tool in another process, and every way in which such a tool fails."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from contracts.compiler_contract import CompilerContract
from contracts.fake_compiler import FakeCompiler
from contracts.tiny_artifact import make_artifact

from edgeseg.core.vendor_process import run_tool
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import ConversionError, EdgesegError, MissingDependency
from edgeseg.runtime import verify

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact


class TestFakeCompiler(CompilerContract):
    def compiler(self) -> FakeCompiler:
        return FakeCompiler()

    def source(self, folder: Path) -> Artifact:
        return make_artifact(folder, file_format="onnx")


def compiled(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fault: str = "", **settings: object) -> Artifact:
    compiler = FakeCompiler(**settings)  # type: ignore[arg-type]
    monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: compiler)
    source = make_artifact(folder / "source", file_format="onnx")
    return compile_artifact(source.folder, compiler="copier", options={"fault": fault}, out=folder / "out")


def test_what_can_run_here_is_proven_on_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = compiled(tmp_path, monkeypatch, provable_by=("onnxruntime",))
    assert (made.manifest.proof.level, made.manifest.proof.engine) == ("engine", "onnxruntime")
    assert verify(made.folder).agreement == 1.0


def test_what_cannot_run_here_is_proven_by_its_source_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compiled(tmp_path, monkeypatch)
    assert made.manifest.proof.level == "source"
    assert made.manifest.proof.reason


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"Copier was ended by SIGABRT.*segment 3 is too large.*tool\.log"),
        ("exit", r"Copier failed with exit status 1.*no licence.*tool\.log"),
        ("malformed", r"Copier answered with something else than JSON.*done!.*tool\.log"),
        ("escape", r"not in its folder"),
    ],
)
def test_a_tool_that_fails_is_one_clear_error_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        compiled(tmp_path, monkeypatch, fault=fault)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_tool_that_hangs_is_stopped_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConversionError, match="did not end within 5 s and was stopped"):
        compiled(tmp_path, monkeypatch, fault="hang", time_limit_s=5.0)
    child = int((tmp_path / "child.pid").read_text())
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.1)
    pytest.fail("a child of the tool still runs")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_tool_that_wants_too_much_memory_is_one_clear_error(tmp_path: Path) -> None:
    import sys

    command = [sys.executable, "-c", "input(); bytearray(4 << 30)"]
    with pytest.raises(ConversionError, match=r"failed with exit status 1 \(memory limit: 1024 MB\).*MemoryError"):
        run_tool(command, {}, name="Eater", log_folder=tmp_path, memory_limit_mb=1024)


def test_a_missing_interpreter_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"Copier cannot be started: /no/python: No such file.*Install it"):
        run_tool(["/no/python"], {}, name="Copier", log_folder=tmp_path, install="Install it.")


def test_neither_compiler_nor_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgesegError, match="--with NAME"):
        compile_artifact(tmp_path)
