"""Where toolchains are installed, and in what state each one is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeseg.core.files import read_json
from edgeseg.errors import EdgesegError, MissingDependency
from edgeseg.toolchains.description import find_toolchain

if TYPE_CHECKING:
    from edgeseg.toolchains.description import Toolchain

INSTALLED_FILE = "installed.json"
State = Literal["installed", "missing", "outdated", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation wrote last.

    `entries` are the files and folders at the top of its site-packages; of npm packages, every installed file.
    `python` is the environment's version, "" for npm packages.
    """

    schema: int
    name: str
    version: str
    lock_sha256: str
    python: str
    licence: str
    licence_accepted: str
    size_bytes: int
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolchainStatus:
    """One toolchain on this machine; `detail` says what is wrong, `fix` is the command that changes it."""

    name: str
    state: State
    folder: Path
    version: str = ""
    size_bytes: int = 0
    detail: str = ""
    fix: str = ""

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return interpreter(self.folder)


def toolchain_store() -> Path:
    """Return the folder of all toolchains: EDGESEG_TOOLCHAINS, else edgeseg/toolchains in the user's data folder."""
    given = os.environ.get("EDGESEG_TOOLCHAINS")
    if given:
        return Path(given).expanduser()
    system = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_DATA_HOME")
    return Path(system or "~/.local/share").expanduser() / "edgeseg" / "toolchains"


def interpreter(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(folder: Path, *, version: str) -> Path:
    """Return the site-packages of an environment of a Python version such as "3.11"."""
    return folder / ("Lib/site-packages" if sys.platform == "win32" else f"lib/python{version}/site-packages")


def own_paths(tool: Toolchain) -> list[str]:
    """Return where the modules that a tool borrows lie: this process's import path, after the tool's own."""
    return [str(Path(entry or ".").resolve()) for entry in sys.path] if tool.borrows else []


def toolchain_status(tool: Toolchain) -> ToolchainStatus:
    """Return the state of a toolchain; quick, and starts nothing."""
    folder = toolchain_store() / tool.name
    try:
        found = read_json(Installed, folder / INSTALLED_FILE)
    except EdgesegError as error:
        if not folder.exists():
            return _status(tool, "missing", detail="is not installed")
        return _status(tool, "damaged", detail=f"is damaged ({error})")
    state, detail = _state(tool, found, folder=folder)
    return _status(tool, state, found=found, detail=detail)


def _state(tool: Toolchain, found: Installed, *, folder: Path) -> tuple[State, str]:
    here = f"3.{sys.version_info.minor}"
    if found.lock_sha256 != tool.lock_sha256:
        other = f"version {found.version} with other packages than this edgeseg pins ({tool.version})"
        return "outdated", f"is installed as {other}"
    if tool.borrows and found.python != here:
        return "outdated", f"is installed for Python {found.python}; edgeseg runs on {here} here"
    content = folder if tool.source == "npm" else site_packages(folder, version=found.python)
    gone = [name for name in found.entries if not (content / name).exists()]
    if gone:
        return "damaged", f"is damaged ({gone[0]} is missing)"
    if tool.source == "pypi" and not interpreter(folder).exists():
        return "damaged", f"is damaged (Python {found.python}, with which it was installed, is gone)"
    return "installed", ""


def require_toolchain(name: str) -> ToolchainStatus:
    """Return an installed toolchain.

    Raises:
        MissingDependency: it is not installed, damaged or of another version; with the command that fixes it.
    """
    tool = find_toolchain(name)
    found = toolchain_status(tool)
    if found.state != "installed":
        raise MissingDependency(f"{tool.title} ({tool.name}) {found.detail}: {found.fix}")
    return found


def _status(tool: Toolchain, state: State, *, found: Installed | None = None, detail: str = "") -> ToolchainStatus:
    return ToolchainStatus(
        name=tool.name,
        state=state,
        folder=toolchain_store() / tool.name,
        version="" if found is None else found.version,
        size_bytes=0 if found is None else found.size_bytes,
        detail=detail,
        fix="" if state == "installed" else tool.install_command,
    )
