"""Installing and removing a toolchain: download by hash, install into a temporary folder, check, rename."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core import atomic
from edgeseg.core.files import MARKER, new_folder, refuse_foreign, write_json
from edgeseg.core.progress import Progress, no_progress
from edgeseg.errors import ConversionError, InputError, MissingDependency, UnsupportedError
from edgeseg.toolchains.npm_packages import download_tarballs, unpack_tarballs
from edgeseg.toolchains.store import (
    INSTALLED_FILE,
    Installed,
    interpreter,
    own_paths,
    site_packages,
    toolchain_status,
    toolchain_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeseg.toolchains.description import Toolchain
    from edgeseg.toolchains.store import ToolchainStatus

_PIP = ("--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:")
_LAST_LINES = 3
_log = logging.getLogger(__name__)
_PROBE = """
import importlib, importlib.metadata, json, sys
pinned, imports, borrowed = json.loads(sys.argv[1])
sys.path += borrowed
for name, version in pinned.items():
    found = importlib.metadata.version(name)
    if found != version:
        sys.exit(f"{name} is {found}, not {version}")
for name in imports:
    importlib.import_module(name)
"""


def install_toolchain(
    tool: Toolchain, *, accept_licence: bool, wheels: Path | None = None, on_progress: Progress | None = None
) -> ToolchainStatus:
    """Return the status of a toolchain after installing it; one that is already installed is left alone.

    Files already downloaded by an interrupted installation are used again. With `wheels` they come from that folder (of
    wheels, or of npm tarballs) and nothing is downloaded. The toolchain appears only when it is complete.

    Raises:
        InputError: the licence is not accepted; `wheels` lacks a file; another process installs it.
        UnsupportedError: it does not run on this machine, or no suitable Python is installed.
        MissingDependency: pip or npm is missing.
        ConversionError: pip or npm failed, or the installed tool does not import; with the last lines.
    """
    tool.check_machine()
    if tool.source == "pypi":
        _python(tool)
    if not accept_licence:
        raise InputError(
            f"{tool.title} is not installed: its licence ({tool.licence}, {tool.licence_url}) is yours to accept. "
            f"Read it, then: {tool.install_command} --accept-licence"
        )
    found = toolchain_status(tool)
    if found.state == "installed":
        return found
    if wheels is not None and not wheels.is_dir():
        raise InputError(f"{wheels}: no such folder. Give a folder of wheels, or of npm tarballs (--wheels).")
    progress = on_progress or no_progress
    with new_folder(toolchain_store() / tool.name) as folder:
        made = (_install_tarballs if tool.source == "npm" else _install_wheels)(tool, folder, wheels, progress)
        write_json(made, folder / INSTALLED_FILE)
    shutil.rmtree(_downloads(tool), ignore_errors=True)
    return toolchain_status(tool)


def _install_wheels(tool: Toolchain, folder: Path, wheels: Path | None, progress: Progress) -> Installed:
    python, pip = _python(tool), _pip()
    source = wheels or _download(tool, pip=pip, python=python, progress=progress)
    progress(f"install {tool.title}", 0, 0)
    _run([python, "-m", "venv", "--without-pip", folder], what="venv")
    _run([*pip, "--python", interpreter(folder), "install", *_PIP, "--no-index", "--find-links", source,
          "--no-compile", "--no-warn-script-location", "-r", tool.lock], what="pip")  # fmt: skip
    progress(f"check {tool.title}", 0, 0)
    _run([interpreter(folder), "-I", "-c", _PROBE, json.dumps([tool.pinned, tool.imports, own_paths(tool)])],
         what=tool.title)  # fmt: skip
    _repoint_scripts(folder, toolchain_store() / tool.name)
    return _record(tool, folder, python=python)


def _install_tarballs(tool: Toolchain, folder: Path, tarballs: Path | None, progress: Progress) -> Installed:
    source = tarballs or download_tarballs(tool, _downloads(tool), on_progress=progress)
    progress(f"install {tool.title}", 0, 0)
    unpack_tarballs(tool, source, folder)
    return _installed(tool, folder, python="", entries=tool.files)


def remove_toolchain(tool: Toolchain) -> int:
    """Remove a toolchain with its downloads, and what a removal that was stopped left; return the bytes freed.

    Raises:
        InputError: it is not installed.
    """
    folder, downloads = toolchain_store() / tool.name, _downloads(tool)
    doomed = folder.with_name(f".{folder.name}.removed0{atomic.PARTIAL}")
    if not any(place.exists() for place in (folder, downloads, doomed)):
        raise InputError(f"{tool.title} ({tool.name}) is not installed; there is nothing to remove.")
    refuse_foreign(folder)
    with atomic.lock(folder):
        freed = sum(_size(place) for place in (folder, downloads, doomed) if place.exists())
        atomic.recover(folder, marker=MARKER)
        # One of an earlier removal may have lost its marker, by which `recover` knows it, before the process ended.
        _delete(doomed)
        if folder.exists():
            # First under a hidden name: half of it is never taken for the whole.
            folder.rename(doomed)
            _delete(doomed)
        shutil.rmtree(downloads, ignore_errors=True)
    return freed


def _delete(folder: Path) -> None:
    """Delete a folder, if there is one, with its marker last: what a stopped process leaves is still known as ours."""
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    shutil.rmtree(folder)


def _python(tool: Toolchain) -> Path:
    """Return an interpreter of a version that the tool runs on: this one, else one on the PATH."""
    here = f"3.{sys.version_info.minor}"
    if here in tool.pythons:
        return Path(sys.executable)
    wanted = f"{tool.pythons[0]} to {tool.pythons[-1]}"
    if tool.borrows:
        raise UnsupportedError(f"{tool.title} needs edgeseg on Python {wanted}; this is {here}.")
    for version in reversed(tool.pythons):
        found = shutil.which(f"python{version}")
        if found:
            return Path(found)
    raise UnsupportedError(f"{tool.title} needs Python {wanted}; this is {here}. Put one of those on the PATH.")


def _pip() -> list[str | Path]:
    if importlib.util.find_spec("pip") is None:
        raise MissingDependency("pip, which installs toolchains, is missing in this Python: python -m ensurepip")
    return [sys.executable, "-m", "pip"]


def _download(tool: Toolchain, *, pip: Sequence[str | Path], python: Path, progress: Progress) -> Path:
    folder = _downloads(tool)
    folder.mkdir(parents=True, exist_ok=True)
    version = _run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], what="Python").strip()
    command = [*pip, "download", *_PIP, "--python-version", version, "--dest", folder, "-r", tool.lock]
    progress(f"download {tool.title} ({tool.download_mb} MB)", 0, len(tool.pinned))
    done = 0
    lines: list[str] = []
    with _started(command, errors=subprocess.STDOUT) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line.strip())
            done += line.startswith("Collecting ")
            progress(f"download {tool.title} ({tool.download_mb} MB)", done, len(tool.pinned))
    if child.returncode != 0:
        raise ConversionError(
            f"{tool.title}: the download stopped: {_last(lines)} What arrived is kept: repeat the command to continue."
        )
    return folder


def _downloads(tool: Toolchain) -> Path:
    return toolchain_store() / f".downloads-{tool.name}"


def _run(command: Sequence[str | Path], *, what: str) -> str:
    with _started(command, errors=subprocess.PIPE) as child:
        output, errors = child.communicate()
    _log.info("%s: %s", what, output.strip())
    if child.returncode != 0:
        raise ConversionError(f"{what} failed: {_last((output + errors).splitlines())} Nothing was installed.")
    return output


@contextlib.contextmanager
def _started(command: Sequence[str | Path], *, errors: int) -> Iterator[subprocess.Popen[str]]:
    """Yield a running program; if the block is left early, it ends with its children (pip starts a second pip)."""
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
        errors="replace", start_new_session=True,
    ) as child:  # fmt: skip
        try:
            yield child
        except BaseException:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(child.pid, signal.SIGKILL)
                else:
                    child.kill()
            raise


def _last(lines: Sequence[str]) -> str:
    said = [line.strip() for line in lines if line.strip() and not line.startswith(("WARNING", "[notice]"))]
    return " | ".join(said[-_LAST_LINES:]) or "it gave no reason."


def _repoint_scripts(folder: Path, final: Path) -> None:
    """Let the environment's scripts name the interpreter at its final place."""
    for path in interpreter(folder).parent.iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if content.startswith(b"#!"):
            path.write_bytes(content.replace(os.fsencode(folder), os.fsencode(final)))


def _record(tool: Toolchain, folder: Path, *, python: Path) -> Installed:
    version = _run([interpreter(folder), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], what=str(python))
    packages = site_packages(folder, version=version.strip())
    entries = tuple(sorted(path.name for path in packages.iterdir() if path.name != "__pycache__"))
    return _installed(tool, folder, python=version.strip(), entries=entries)


def _installed(tool: Toolchain, folder: Path, *, python: str, entries: tuple[str, ...]) -> Installed:
    return Installed(
        schema=1,
        name=tool.name,
        version=tool.version,
        lock_sha256=tool.lock_sha256,
        python=python,
        licence=tool.licence,
        licence_accepted=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        size_bytes=_size(folder),
        entries=entries,
    )


def _size(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink())
