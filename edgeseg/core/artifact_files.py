"""The files of an artifact's folder: which belong to it, which paths are allowed, and whether they are intact.

A folder holds exactly the files in its manifest, and three things that are not part of the artifact: the manifest
itself, the marker of folders that edgeseg made, and the receipts of devices (`receipts/*.json`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from edgeseg.core.files import MARKER, sha256_of
from edgeseg.core.parsing import shown
from edgeseg.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECEIPTS = "receipts"
UNLISTED = ("manifest.json", MARKER)
AGAIN = "Copy or convert the artifact again."


class _Listed(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


def list_entries(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Yield path, SHA-256 and size (bytes) of every file that belongs to the artifact in `folder`, sorted by path.

    Raises:
        ArtifactError: a link, or anything else that is neither a file nor a folder.
    """
    for name in sorted(_names(folder)):
        path = folder / name
        yield name, sha256_of(path), path.stat().st_size


def check_files(folder: Path, files: Iterable[_Listed]) -> None:
    """Check that `folder` holds exactly `files`, complete and unchanged, and that none is outside it.

    Raises:
        ArtifactError: naming the first that is missing, altered, unlisted, listed twice, or not a plain file inside.
    """
    listed: set[str] = set()
    for file in files:
        _check_name(folder, file.path)
        if file.path in listed:
            raise ArtifactError(f"{folder}: the manifest lists {file.path} twice. {AGAIN}")
        listed.add(file.path)
        _check_file(folder, file)
    for name in _names(folder):
        if name not in listed:
            raise ArtifactError(
                f"{folder / name}: is not part of this artifact: its manifest does not list it. Delete the file, or "
                "copy or convert the artifact again."
            )


def check_listed(manifest: Path, names: Iterable[tuple[str, str]], files: Iterable[_Listed]) -> None:
    """Check that each of `names` (what it is, its path) is a listed file; the entry may be a folder of listed files.

    Raises:
        ArtifactError: a path that the manifest's checksums do not cover.
    """
    listed = {file.path for file in files}
    folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    for what, name in names:
        _check_name(manifest.parent, name)
        if name not in listed and not (what == "entry" and name in folders - {"."}):
            raise ArtifactError(f"{manifest}: {what} is {shown(name)}, which is not in its list of files. {AGAIN}")


def _names(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # another process's receipt that was being written
                continue
            if stat.S_ISDIR(mode) or relative in UNLISTED or _is_receipt(relative, mode):
                continue
            if not stat.S_ISREG(mode):
                raise ArtifactError(f"{path}: is a link or a special file; an artifact holds plain files only. {AGAIN}")
            yield relative


def _is_receipt(relative: str, mode: int) -> bool:
    path = PurePosixPath(relative)
    partial = path.name.startswith(".") and path.suffix == ".partial"  # being written, or left by a kill
    return stat.S_ISREG(mode) and path.parent == PurePosixPath(RECEIPTS) and (path.suffix == ".json" or partial)


def _check_name(folder: Path, name: str) -> None:
    """Refuse all but plain relative paths: `../`, absolute paths, Windows drives, and a second spelling of a path."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or str(path) != name or {"\\", ":"} & set(name):
        raise ArtifactError(
            f"{folder}: its manifest names the file {shown(name)}, which is not a path inside the folder. {AGAIN}"
        )


def _check_file(folder: Path, file: _Listed) -> None:
    path = folder
    for part in PurePosixPath(file.path).parts:
        path = path / part
        if path.is_symlink():
            raise ArtifactError(f"{path}: is a link; an artifact holds plain files only. {AGAIN}")
    if not path.is_file():
        raise ArtifactError(f"{path}: missing from the artifact. {AGAIN}")
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        raise ArtifactError(
            f"{path}: {size_bytes} bytes, but the manifest says {file.size_bytes}: truncated or replaced. {AGAIN}"
        )
    if sha256_of(path) != file.sha256:
        raise ArtifactError(f"{path}: its SHA-256 does not match the manifest: a byte was changed. {AGAIN}")
