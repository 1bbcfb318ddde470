"""`compile`: an artifact through a tool in another process, and every way in which such a tool fails."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from contracts.compiler_contract import CompilerContract
from contracts.fake_compiler import FakeCompiler
from contracts.tiny_artifact import make_artifact, reseal

from edgeseg.cli.main import main
from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.files import MARKER
from edgeseg.core.vendor_process import run_tool
from edgeseg.deploy.compile import compile_artifact
from edgeseg.deploy.conversion_plan import plan_for_targets
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.errors import ConversionError, EdgesegError, GateError, InputError, MissingDependency
from edgeseg.runtime import verify


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


def test_a_class_that_the_compiled_artifact_loses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_artifact(tmp_path / "source", file_format="onnx", precision="int8")
    path = source.folder / source.manifest.golden.expected
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    counts = np.bincount(labels.reshape(-1))
    common, rare = int(counts.argmax()), int(counts.argmin())
    assert counts[rare] < 0.05 * labels.size, "all labels together stay above what int8 has to keep"
    rows, columns = np.nonzero(labels == common)
    labels[labels == rare] = common
    labels[rows[:40], columns[:40]] = rare
    cv2.imwrite(str(path), labels)
    reseal(source.folder)
    compiler = FakeCompiler(provable_by=("onnxruntime",), precisions=("int8",))
    monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: compiler)
    monkeypatch.setattr("edgeseg.deploy.compile._try_unknown", lambda _source: None)
    with pytest.raises(GateError, match=f"loses the class {source.manifest.spec.classes[rare]}: 0.00 %"):
        compile_artifact(source.folder, compiler="copier", options={"fault": ""}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_run_here_is_proven_by_its_source_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compiled(tmp_path, monkeypatch)
    assert made.manifest.proof.level == "source"
    assert made.manifest.proof.reason


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"Copier was ended by SIGABRT.*segment 3 is too large.*copier-\w+\.log"),
        ("exit", r"Copier failed with exit status 1.*no licence.*copier-\w+\.log"),
        ("malformed", r"Copier answered with something else than JSON.*done!.*copier-\w+\.log"),
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


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Return a source whose folder bears the marker, as those that edgeseg writes do, with the copier to compile it."""
    monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: FakeCompiler())
    return marked(tmp_path / "a")


def marked(folder: Path, *, file_format: str = "onnx") -> Artifact:
    made = make_artifact(folder, file_format=file_format)
    (folder / MARKER).touch()
    return made


def test_the_same_source_again_replaces_its_result(source: Artifact, tmp_path: Path) -> None:
    for _ in range(2):
        made = compile_artifact(source.folder, compiler="copier", out=tmp_path / "out")
        assert made.manifest.lineage.source_artifact == source.sha256


def test_an_unrelated_artifact_is_replaced_with_force_alone(
    source: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = marked(tmp_path / "b")
    arguments = ["compile", str(source.folder), "--with", "copier", "--out", str(other.folder)]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert f"{other.folder}: holds another artifact: it was not compiled." in said
    assert "--force" in said
    assert open_artifact(other.folder).sha256 == other.sha256
    assert main([*arguments, "--force"]) == 0
    assert open_artifact(other.folder).manifest.lineage.source_artifact == source.sha256


def test_the_results_of_two_sources_of_one_name_do_not_replace_each_other(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = compile_artifact(source.folder, compiler="copier")
    assert kept.folder == Path("artifacts/a-copier")
    again = marked(tmp_path / "x" / "a")
    (again.folder / "more.txt").touch()
    reseal(again.folder)
    with pytest.raises(
        InputError, match=r"artifacts/a-copier: holds another artifact: its source's hash is \w{12}, not"
    ):
        compile_artifact(again.folder, compiler="copier")
    assert open_artifact(kept.folder).sha256 == kept.sha256


def test_another_format_is_no_earlier_result(source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_artifact(source.folder, compiler="copier", out=tmp_path / "out")
    monkeypatch.setattr("edgeseg.deploy.compile.compiler_named", lambda _name: FakeCompiler(format="qnn-context"))
    with pytest.raises(InputError, match="its format is onnx, not qnn-context"):
        compile_artifact(source.folder, compiler="copier", out=tmp_path / "out")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("out", ["a", "link", "a/golden/../../a", "a/golden/made", "."])
def test_the_source_and_what_is_around_it_are_never_replaced(
    out: str, force: bool, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(source.folder)
    (tmp_path / MARKER).touch()
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match=r"the artifact to compile, which is kept"):
        compile_artifact(source.folder, compiler="copier", out=tmp_path / out, force=force)
    assert open_artifact(source.folder).sha256 == source.sha256


def test_a_folder_of_another_verb_is_replaced_with_force_alone(source: Artifact, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / MARKER).touch()
    (run / "weights").write_text("a night of training")
    with pytest.raises(InputError, match=r"run: holds something else that edgeseg made.*--force"):
        compile_artifact(source.folder, compiler="copier", out=run)
    assert (run / "weights").exists()
    compile_artifact(source.folder, compiler="copier", out=run, force=True)
    assert open_artifact(run).manifest.origin == "compiled"


def test_a_damaged_artifact_may_be_replaced(source: Artifact, tmp_path: Path) -> None:
    other = marked(tmp_path / "b")
    other.entry.write_bytes(b"")
    compile_artifact(source.folder, compiler="copier", out=other.folder)


def test_the_current_folder_is_refused_before_any_work(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(FakeCompiler, "check", None)
    for out in (Path(), tmp_path / "empty", Path("new/..")):
        with pytest.raises(InputError, match=r"current folder.*Give a name"):
            compile_artifact(source.folder, compiler="copier", out=out)
        with pytest.raises(InputError, match=r"current folder.*Give a name"):
            plan_for_targets("fast_scnn:streets-half", ConversionRequest(target="onnx", precision="fp32", out=out))
    assert list(Path().iterdir()) == []
