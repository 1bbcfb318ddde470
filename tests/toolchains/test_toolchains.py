"""Toolchains: installed whole or not at all, by hash, in an environment of their own; every bad state is one line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeseg.cli.main import main
from edgeseg.errors import ConversionError, EdgesegError, InputError, MissingDependency, UnknownName, UnsupportedError
from edgeseg.toolchains import (
    call_toolchain,
    find_left_out,
    find_toolchain,
    install_toolchain,
    left_out_names,
    load_toolchains,
    remove_toolchain,
    require_toolchain,
    toolchain_status,
)
from edgeseg.toolchains.installing import _started
from edgeseg.toolchains.store import site_packages

TABLE = """
schema = 1
name = "tiny-tool"
title = "Tiny Tool"
purpose = "prints"
version = "1.0"
licence = "Tiny Licence"
licence_url = "https://example.invalid/licence"
terms = "For tests."
download_mb = 1
installed_mb = 1
python = ["3.8", "3.30"]
imports = ["tiny_tool"]
"""
KILLED = """
import os, pathlib, signal, sys
from edgeseg.toolchains import find_toolchain, install_toolchain, installing as module
real = module._run
def run(command, *, what):
    if what == "pip":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(command, what=what)
module._run = run
install_toolchain(find_toolchain(sys.argv[1]), accept_licence=True, wheels=pathlib.Path(sys.argv[2]))
"""


def wheel(folder: Path, *, version: str = "1.0", code: str = "NAME = 'tiny'\n") -> Path:
    """Return a wheel of one module, written by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny_tool-{version}-py3-none-any.whl"
    about = f"tiny_tool-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny_tool.py", code)
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny-tool\nVersion: {version}\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/entry_points.txt", "[console_scripts]\ntiny = tiny_tool:main\n")
        file.writestr(f"{about}/RECORD", "")
    return path


def describe(folder: Path, wheel_file: Path, *, table: str = TABLE, sha256: str = "") -> str:
    digest = sha256 or hashlib.sha256(wheel_file.read_bytes()).hexdigest()
    version = wheel_file.name.split("-")[1]
    (folder / "tiny-tool.lock").write_text(f"tiny-tool=={version} \\\n    --hash=sha256:{digest}\n")
    path = folder / "tiny-tool.toml"
    path.write_text(table)
    return str(path)


@dataclass(frozen=True)
class Answer:
    schema: int


@dataclass(frozen=True)
class Place:
    text: str
    wheels: Path
    store: Path
    killed: int
    seen_after_kill: str
    packages_changed: bool


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Kill an installation in the middle, look, and repeat it."""
    folder = tmp_path_factory.mktemp("toolchains")
    os.environ["EDGESEG_TOOLCHAINS"] = str(folder / "store")
    text = describe(folder, wheel(folder / "wheels"))
    before = packages()
    command = [sys.executable, "-c", KILLED, text, str(folder / "wheels")]
    killed = subprocess.run(command, check=False, timeout=60).returncode
    seen = toolchain_status(find_toolchain(text)).state
    install_toolchain(find_toolchain(text), accept_licence=True, wheels=folder / "wheels")
    return Place(
        text=text, wheels=folder / "wheels", store=folder / "store", killed=killed, seen_after_kill=seen,
        packages_changed=packages() != before,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(place.store))


def packages() -> set[tuple[str, str]]:
    return {(found.name, found.version) for found in importlib.metadata.distributions()}


def test_a_killed_installation_leaves_nothing_half_and_the_next_one_is_whole(place: Place) -> None:
    assert place.killed == -signal.SIGKILL
    assert place.seen_after_kill == "missing"
    tool = find_toolchain(place.text)
    found = toolchain_status(tool)
    assert found.state == "installed"
    said = subprocess.run(
        [found.python, "-c", "import tiny_tool; print(tiny_tool.NAME)"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "tiny"
    assert sorted(path.name for path in place.store.iterdir()) == ["tiny-tool"]
    assert str(found.folder / "bin") in (found.folder / "bin" / "tiny").read_text()


def test_our_own_environment_is_unchanged(place: Place) -> None:
    assert not place.packages_changed


def test_without_the_licence_nothing_is_installed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "other"))
    assert main(["toolchain", "install", place.text]) == 1
    said = capsys.readouterr().err
    assert "https://example.invalid/licence" in said
    assert "For tests." in said
    assert "1 MB to download" in said
    assert "--accept-licence" in said.splitlines()[-1]
    assert not (tmp_path / "other").exists()


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    text = describe(tmp_path, wheel(tmp_path / "wheels"), sha256="0" * 64)
    with pytest.raises(ConversionError, match=r"pip failed.*Nothing was installed") as caught:
        install_toolchain(find_toolchain(text), accept_licence=True, wheels=tmp_path / "wheels")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "store").iterdir()) == []


def test_every_bad_state_is_one_line_with_the_command(place: Place) -> None:
    tool = find_toolchain(place.text)
    lock = Path(place.text).with_suffix(".lock")
    content = lock.read_text()
    lock.write_text(content + "# changed\n")
    assert state_line(place) == ("outdated", True)
    lock.write_text(content)
    found = toolchain_status(tool)
    packages_here = site_packages(found.folder, version=f"3.{sys.version_info.minor}")
    (packages_here / "tiny_tool.py").rename(packages_here / "gone")
    assert state_line(place) == ("damaged", True)
    (packages_here / "gone").rename(packages_here / "tiny_tool.py")
    record = found.folder / "installed.json"
    whole = record.read_text()
    record.write_text(whole[: len(whole) // 2])
    assert state_line(place) == ("damaged", True)
    record.write_text(whole)
    assert toolchain_status(tool).state == "installed"


def state_line(place: Place) -> tuple[str, bool]:
    found = toolchain_status(find_toolchain(place.text))
    return found.state, bool(found.detail) and found.fix == f"edgeseg toolchain install {place.text}"


def test_what_is_installed_is_not_installed_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.toolchains.installing._run", pytest.fail)
    assert install_toolchain(find_toolchain(place.text), accept_licence=True).state == "installed"


def test_removing_leaves_nothing_and_a_missing_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    text = describe(tmp_path, wheel(tmp_path / "wheels"))
    folder = tmp_path / "store" / "tiny-tool"
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"1234")
    with pytest.raises(InputError, match="not made by edgeseg"):
        remove_toolchain(find_toolchain(text))
    (folder / ".edgeseg").touch()
    assert main(["toolchain", "remove", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "name": "tiny-tool", "freed_bytes": 4}
    assert list((tmp_path / "store").iterdir()) == []
    assert main(["toolchain", "remove", text]) == 1
    assert "is not installed" in capsys.readouterr().err


def test_a_removal_that_was_stopped_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    text = describe(tmp_path, wheel(tmp_path / "wheels"))
    # The marker was deleted before the process ended; folders come from it in any order.
    left = tmp_path / "store" / ".tiny-tool.removed0.partial"
    for installed in (True, False):
        left.mkdir(parents=True)
        (left / "data").write_bytes(b"1234")
        if installed:
            (tmp_path / "store" / "tiny-tool").mkdir()
            (tmp_path / "store" / "tiny-tool" / ".edgeseg").touch()
        assert main(["toolchain", "remove", text, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["freed_bytes"] == 4
        assert list((tmp_path / "store").iterdir()) == []


def test_a_removal_deletes_the_marker_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    tool = find_toolchain(describe(tmp_path, wheel(tmp_path / "wheels")))
    folder = tmp_path / "store" / "tiny-tool"
    (folder / "lib").mkdir(parents=True)
    for name in (".edgeseg", "a", "z"):
        (folder / name).touch()
    real, seen = shutil.rmtree, []

    def rmtree(path: Path, **options: object) -> None:
        if "removed0" in str(path) and Path(path).exists():
            seen.append((Path(path).name, (path.parent / ".edgeseg").exists() or (path / ".edgeseg").exists()))
        real(path, **options)

    monkeypatch.setattr("edgeseg.toolchains.installing.shutil.rmtree", rmtree)
    remove_toolchain(tool)
    assert seen == [("lib", True), (".tiny-tool.removed0.partial", True)]
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")
def test_an_interrupted_installation_leaves_no_process(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    pip = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(inner)!r}, 'w').write(str(child.pid))\nprint(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    for errors in (subprocess.STDOUT, subprocess.PIPE):
        with (  # noqa: PT012 - what the block does before the interruption is part of the case
            pytest.raises(KeyboardInterrupt),
            _started([sys.executable, "-c", pip], errors=errors) as outer,
        ):
            assert outer.stdout is not None
            assert int(outer.stdout.readline())
            raise KeyboardInterrupt
        assert outer.returncode == -signal.SIGKILL
        assert has_ended(int(inner.read_text()))


def has_ended(pid: int) -> bool:
    """Return whether a process ends soon; one that waits for its parent to notice has ended, too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_machine_or_python_it_does_not_run_on_is_named(tmp_path: Path) -> None:
    made = wheel(tmp_path / "wheels")
    for key, words in (
        ('systems = ["Plan9"]', "Plan9 only"),
        ('programs = ["no-such-java"]', "no-such-java"),
    ):
        tool = find_toolchain(describe(tmp_path, made, table=TABLE + key + "\n"))
        with pytest.raises(UnsupportedError, match=words):
            install_toolchain(tool, accept_licence=True, wheels=tmp_path / "wheels")
    old = TABLE.replace('["3.8", "3.30"]', '["3.1", "3.2"]')
    with pytest.raises(UnsupportedError, match=r"needs Python 3\.1 to 3\.2"):
        install_toolchain(find_toolchain(describe(tmp_path, made, table=old)), accept_licence=True)


def test_a_name_that_does_not_exist_and_a_lock_without_hashes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match='Did you mean "ethos-u-vela"'):
        find_toolchain("ethos-u-vella")
    text = describe(tmp_path, wheel(tmp_path / "wheels"))
    Path(text).with_suffix(".lock").write_text("tiny-tool==1.0\n")
    with pytest.raises(EdgesegError, match="--hash=sha256"):
        find_toolchain(text)


def test_our_toolchains_hold_and_a_missing_one_names_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path))
    for tool in load_toolchains():
        assert tool.pinned
        assert tool.terms
        assert tool.licence_url.startswith("https://")
        with pytest.raises(MissingDependency, match=f"edgeseg toolchain install {tool.name}$"):
            require_toolchain(tool.name)


NPM = TABLE.replace(
    'python = ["3.8", "3.30"]\nimports = ["tiny_tool"]', 'source = "npm"\nfiles = ["@tiny/tool/dist/tool.js"]'
)


def tarball(folder: Path, files: dict[str, bytes], *, name: str = "tiny-tool-1.0.tgz") -> Path:
    """Return an npm package's archive, with a link to escape through beside its files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / name, "w:gz") as archive:
        link = tarfile.TarInfo("package/dist")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        archive.addfile(link)
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / name


def npm_tool(folder: Path, archive: Path) -> str:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "tiny-tool.lock").write_text(f"@tiny/tool==1.0 --hash=sha256:{digest}\n")
    (folder / "tiny-tool.toml").write_text(NPM)
    return str(folder / "tiny-tool.toml")


def test_npm_packages_are_unpacked_file_by_file_and_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    archive = tarball(
        tmp_path / "npm",
        {"package/dist/tool.js": b"1", "package/other.js": b"2", "../escaped.js": b"3", "package/../../out.js": b"4"},
    )
    tool = find_toolchain(npm_tool(tmp_path, archive))
    done = install_toolchain(tool, accept_licence=True, wheels=tmp_path / "npm")
    assert done.state == "installed"
    installed = {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*") if path.is_file()}
    assert installed == {".edgeseg", "installed.json", "@tiny/tool/dist/tool.js"}
    (done.folder / "@tiny/tool/dist/tool.js").unlink()
    assert toolchain_status(tool).state == "damaged"
    tarball(tmp_path / "npm", {"package/dist/tool.js": b"changed"})
    with pytest.raises(InputError, match="not the file that this edgeseg pins"):
        install_toolchain(tool, accept_licence=True, wheels=tmp_path / "npm")


def test_without_npm_one_line_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", "")
    tool = find_toolchain(npm_tool(tmp_path, tarball(tmp_path / "npm", {"package/dist/tool.js": b"1"})))
    with pytest.raises(MissingDependency, match=r"install Node\.js"):
        install_toolchain(tool, accept_licence=True)
    assert toolchain_status(tool).state == "missing"


def test_the_browser_runtime_is_pinned() -> None:
    tool = find_toolchain("web")
    assert set(tool.pinned) == {"onnxruntime-web", "@litertjs/core", "@litertjs/wasm-utils"}
    assert all(any(name.startswith(f"{package}/") for package in tool.pinned) for name in tool.files)


def test_a_tool_that_is_left_out_says_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"imx500-converter", "rknn-toolkit2"} <= set(left_out_names())
    for name in left_out_names():
        tool = find_left_out(name)
        assert main(["toolchain", "install", name, "--accept-licence"]) == 1
        assert capsys.readouterr().err.strip() == f"edgeseg: {tool.line}"
        assert "licence" in tool.reason
        assert "docs/npus.md" in tool.instead
    with pytest.raises(UnknownName, match="rknn-toolkit2"):
        find_toolchain("rknn")
    assert main(["toolchain", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [tool["name"] for tool in listed["left_out"]] == list(left_out_names())


BORROWING = TABLE + 'borrows = ["tiny_helper"]\nextra = "train"\n'


def test_a_tool_may_borrow_modules_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "store"))
    made = wheel(tmp_path / "wheels", code="import tiny_helper\n")
    tool = find_toolchain(describe(tmp_path, made, table=BORROWING))
    with pytest.raises(MissingDependency, match=r"tiny_helper is not installed.*edgeseg\[train\]"):
        install_toolchain(tool, accept_licence=True, wheels=tmp_path / "wheels")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "tiny_helper.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "ours")
    assert install_toolchain(tool, accept_licence=True, wheels=tmp_path / "wheels").state == "installed"
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\nsys.path += json.loads(sys.stdin.readline())['path']\n"
        "import tiny_tool\nprint(json.dumps({'schema': 1}))\n"
    )
    found = call_toolchain(
        Answer, str(tool.lock.with_suffix(".toml")), script, {}, name="Tiny", log_folder=tmp_path, time_limit_s=60
    )
    assert found.schema == 1


def test_a_tool_that_borrows_runs_on_our_python_only(tmp_path: Path) -> None:
    table = BORROWING.replace("tiny_helper", "json").replace('["3.8", "3.30"]', '["3.1", "3.2"]')
    tool = find_toolchain(describe(tmp_path, wheel(tmp_path / "wheels"), table=table))
    with pytest.raises(UnsupportedError, match=r"needs edgeseg on Python 3\.1 to 3\.2; this is 3\."):
        install_toolchain(tool, accept_licence=True)
