"""Strict TOML and JSON files, checksums, and atomic writes of files and folders."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from edgeseg.core import atomic
from edgeseg.core.parsing import parse_json, parse_toml
from edgeseg.core.recipe_lines import with_lines
from edgeseg.core.records import decode_record, encode_record
from edgeseg.errors import InputError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")

MOST_TOML_BYTES = 1 << 20
MOST_JSON_BYTES = 64 << 20
"""Larger files are refused: a manifest or a calibration of thousands of images takes a few megabytes."""

FULL = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Errors of the system when nothing more can be written; Windows has no quota error."""
NO_ROOM_BYTES = 1 << 16
"""With less, a disk is taken as full: libraries write in blocks, and the last ones did not fit."""
STALE_S = 60.0

MARKER = ".edgeseg"
"""Name of the empty file that marks a folder made by edgeseg; only such folders may be replaced."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_toml(cls: type[_T], path: Path) -> _T:
    """Return a `cls` from a strict TOML file.

    Raises:
        InputError: no such file, or one that cannot be read.
        RecipeError: not TOML, or not the schema of `cls`; the message names the file, the line and the key.
    """
    with with_lines(path):
        return decode_record(cls, read_toml_table(path), where=path.name)


def read_toml_table(path: Path) -> dict[str, object]:
    """Return a TOML file as a plain dict, for schemas that depend on its values; raises as `read_toml` does."""
    return parse_toml(_read_text(path, most_bytes=MOST_TOML_BYTES), where=str(path))


def read_json(cls: type[_T], path: Path) -> _T:
    """Return a `cls` from a strict JSON file; raises as `read_toml` does."""
    return decode_record(cls, read_json_value(path), where=path.name)


def read_json_value(path: Path) -> object:
    """Return a JSON file's plain values, as `read_toml_table` does."""
    return parse_json(_read_text(path, most_bytes=MOST_JSON_BYTES), where=str(path))


def raise_if_disk_full(path: Path) -> None:
    """Raise OSError if the disk of a file is full: for libraries that write it themselves and give another reason."""
    if shutil.disk_usage(path.parent).free < NO_ROOM_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_json(value: object, path: Path) -> None:
    """Write a dataclass as indented JSON, atomically.

    Raises:
        RecipeError: it holds NaN, infinity or a lone surrogate, which no reader would accept.
        OSError: the file cannot be written.
    """
    try:
        content = (json.dumps(encode_record(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise RecipeError(f"{path}: not written: {error}.") from None
    write_whole(content, path, durable=True)


def write_whole(content: bytes, path: Path, *, durable: bool = False) -> None:
    """Write a file atomically through a temporary file beside it: an interrupted write leaves the old file, or none.

    `durable` also waits until the file is on the disk, and deletes temporary files left by stopped processes: meant for
    records, not for one file per frame. Raises OSError if the file cannot be written; the temporary file is removed.
    """
    with replacing(path, durable=durable) as stream:
        stream.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream whose content takes the place of the file `path` when the block succeeds; see `write_whole`."""
    if durable:
        delete_stale(path.parent, name=path.name)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}-", suffix=atomic.PARTIAL, dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            atomic.step("write file")
            yield stream
            stream.flush()
            if durable:
                atomic.step("sync file")
                os.fsync(stream.fileno())
        partial.chmod(0o666 & ~atomic.umask())
        atomic.step("replace file")
        partial.replace(path)
        if durable:
            atomic.step("sync parent of file")
            atomic.sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def delete_stale(folder: Path, *, name: str | None = None) -> None:
    """Delete temporary files, of `name` or of all files in `folder`, whose process ended and which are a minute old."""
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.(\d+)-\w+{re.escape(atomic.PARTIAL)}")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = pattern.fullmatch(entry.name)
            if not found or not entry.is_file(follow_symlinks=False) or _is_alive(int(found[1])):
                continue
            # A PID from another container means nothing here; such a process writes within the minute.
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_S:
                Path(entry.path).unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # on Windows, os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _read_text(path: Path, *, most_bytes: int) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a file is needed.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    except ValueError:  # NUL or a lone surrogate in the name
        raise InputError(f"{path}: no file can have this name.") from None
    if len(content) > most_bytes:
        raise RecipeError(f"{path}: has more than {most_bytes >> 20} MB, the most that such a file may have.")
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: is not a text file in UTF-8.") from None


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination` that takes its place when the block succeeds.

    An existing folder that edgeseg made (it holds the marker) is exchanged in one step; an empty folder is used; any
    other is left alone. Remains of stopped processes are deleted first. The files are synced before the exchange.

    Raises:
        InputError: the destination is a file, a folder that edgeseg did not make, holds the current folder, is being
            written by another process, or cannot be written.
    """
    refuse_foreign(destination)
    destination = atomic.named(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{destination.parent}: cannot be written: {error.strerror}.") from None
    try:
        with atomic.lock(destination) as alone:
            if alone:
                atomic.recover(destination, marker=MARKER)
            yield from _written(destination)
    except OSError as error:
        # Converters and vendor tools write here too, and report a full disk in many ways.
        if error.errno not in FULL:
            raise
        raise InputError(
            f"{destination}: cannot be written: {error.strerror}. Make room, or choose another --out."
        ) from None


def _written(destination: Path) -> Iterator[Path]:
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=atomic.PARTIAL, dir=destination.parent))
    except OSError as error:
        raise InputError(f"{destination.parent}: cannot be written: {error.strerror}.") from None
    try:
        (partial / MARKER).touch()
        atomic.step("fill folder")
        yield partial
        partial.chmod(0o777 & ~atomic.umask())
        atomic.step("sync folder")
        atomic.sync_tree(partial)
        refuse_foreign(destination)
        atomic.put_in_place(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_foreign(destination: Path, *, replaced: bool = True) -> None:
    """Raise `InputError` if `destination` exists and is neither an empty folder nor one that edgeseg made.

    Nor may it hold the current folder, unless it is written in place and never `replaced` as `new_folder` does: that
    would leave this process and its shell in a deleted folder.
    """
    place = atomic.named(destination)
    if not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"{destination}: is a file, where a folder is needed. Choose another --out.")
    if any(place.iterdir()) and not (place / MARKER).exists():
        raise InputError(
            f"{destination}: this folder was not made by edgeseg and is not overwritten. Choose another --out."
        )
    if replaced and _holds_current(place):
        raise InputError(
            f"{destination}: is or holds the current folder, which cannot be replaced from inside. Give a name, such "
            "as --out ./net, or run this elsewhere."
        )


def _holds_current(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder.resolve())
    except FileNotFoundError:  # the current folder was deleted
        return False
