"""JavaScript packages: fetched by the npm client, checked against the lock file, unpacked without running code."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of
from edgeseg.core.progress import Progress, no_progress
from edgeseg.errors import ConversionError, InputError, MissingDependency, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.toolchains.description import Toolchain

_LAST_CHARACTERS = 300
_INSIDE = "package"
"""Name of the folder that every npm tarball holds."""


def tarball_name(name: str, version: str) -> str:
    """Return the file name that npm gives a package's tarball.

    >>> tarball_name("@litertjs/core", "2.5.3")
    'litertjs-core-2.5.3.tgz'
    """
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def download_tarballs(tool: Toolchain, folder: Path, *, on_progress: Progress | None = None) -> Path:
    """Return `folder`, holding the tarball of every package; files that arrived whole earlier are kept.

    Raises:
        MissingDependency: npm is missing.
        ConversionError: npm failed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependency(
            f"npm, which downloads {tool.title}, is missing: install Node.js, or copy the tarballs of `npm pack` from "
            "another machine and give their folder with --wheels."
        )
    folder.mkdir(parents=True, exist_ok=True)
    progress = on_progress or no_progress
    for done, (name, version) in enumerate(tool.pinned.items()):
        progress(f"download {tool.title} ({tool.download_mb} MB)", done, len(tool.pinned))
        path = folder / tarball_name(name, version)
        if path.is_file() and sha256_of(path) in tool.digests[name]:
            continue
        # Only this package's own archive: nothing that it depends on, and none of its scripts.
        command = [npm, "pack", f"{name}@{version}", "--pack-destination", str(folder), "--ignore-scripts", "--silent"]
        made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=folder)
        if made.returncode != 0:
            said = " ".join((made.stderr or made.stdout).split())[-_LAST_CHARACTERS:] or "it gave no reason."
            raise ConversionError(
                f"{tool.title}: npm could not download {name}: {said} What arrived is kept: repeat the command."
            )
    return folder


def unpack_tarballs(tool: Toolchain, source: Path, folder: Path) -> None:
    """Unpack the toolchain's files from the tarballs in `source` into `folder`, as PACKAGE/FILE.

    Raises:
        InputError: a tarball is missing, or is not the one of the lock file.
        RecipeError: a file that no package of the lock file holds.
    """
    wanted = set(tool.files)
    for name, version in tool.pinned.items():
        path = source / tarball_name(name, version)
        if not path.is_file():
            raise InputError(f"{path}: missing. Get it with: npm pack {name}@{version}")
        found = sha256_of(path)
        if found not in tool.digests[name]:
            path_kept = f"{found[:12]}..., not {tool.digests[name][0][:12]}..."
            raise InputError(f"{path}: is not the file that this edgeseg pins (SHA-256 {path_kept}). Delete it.")
        wanted -= _unpack(path, name, wanted=wanted, folder=folder)
    if wanted:
        raise RecipeError(f"{tool.name}.toml: files names {min(wanted)}, which no package of the lock file holds.")


def _unpack(path: Path, name: str, *, wanted: set[str], folder: Path) -> set[str]:
    """Write the wanted files of one tarball, and return their names. Only plain files are read, under listed names."""
    written = set()
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            inside = PurePosixPath(member.name)
            target = "/".join((name, *inside.parts[1:]))
            if inside.parts[:1] != (_INSIDE,) or target not in wanted or ".." in inside.parts or not member.isfile():
                continue
            content = archive.extractfile(member)
            assert content is not None, "a plain file"
            place = folder.joinpath(*PurePosixPath(target).parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as stream:
                shutil.copyfileobj(content, stream)
            written.add(target)
    return written
