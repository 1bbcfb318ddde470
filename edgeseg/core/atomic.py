"""The steps of a crash-safe write: sync, exchange, lock; `core.files` combines them.

`step` is called before each of them. It does nothing; tests replace it to end the process or fill the disk there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

RENAME_EXCHANGE = 2
AT_FDCWD = -100
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
PARTIAL, OLD = ".partial", ".old"


def named(destination: Path) -> Path:
    """Return a destination whose last part is a name, to derive others from: ".", "a/.." and links are followed.

    Raises:
        InputError: links without an end, or a current folder that was deleted.
    """
    if destination.name not in ("", "..") and not destination.is_symlink():
        return destination
    try:
        return destination.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{destination}: cannot be followed: {error}. Choose another --out.") from None


def step(name: str) -> None:
    """Do nothing; tests replace this to stop a write."""


def umask() -> int:
    """Return the process's umask; on Linux without changing it, since other threads may be creating files."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Umask:\s*([0-7]+)$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return int(found[1], 8)
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk; does nothing where the system cannot."""
    if os.name != "posix":  # Windows opens no folders, and flushes metadata with the journal
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (*_UNSUPPORTED, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file of a folder, and the folders themselves."""
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root) / name
            if path.is_file() and not path.is_symlink():
                sync(path)
        sync(Path(root))


def put_in_place(partial: Path, destination: Path) -> None:
    """Rename `partial` to `destination`; an existing folder is exchanged with it in one step, then deleted.

    Where an exchange is unavailable, the old folder is first renamed to `.NAME.*.old`; `recover` puts it back if the
    process ends between the two renames.
    """
    step("rename")
    if not destination.exists():
        partial.replace(destination)
        old = None
    elif _exchange(partial, destination):
        old = partial
    else:
        old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=OLD, dir=destination.parent))
        old.rmdir()  # Windows cannot rename to an existing name
        destination.replace(old)
        try:
            step("between renames")
            partial.replace(destination)
        except OSError:
            old.replace(destination)
            raise
    step("sync parent")
    sync(destination.parent)
    if old is not None:
        step("remove old")
        shutil.rmtree(old, ignore_errors=True)


def recover(destination: Path, *, marker: str) -> None:
    """Restore an old folder that a stopped process had renamed, and delete partial ones; the lock must be held."""
    left = [path for path in _hidden(destination) if (path / marker).is_file()]
    if not destination.exists():
        old = [path for path in left if path.name.endswith(OLD)]
        if old:
            newest = max(old, key=lambda path: path.stat().st_mtime)
            newest.replace(destination)
            left.remove(newest)
            _log.warning("%s: put back; a process was stopped while it replaced it", destination)
    for path in left:
        _log.warning("%s: deleted; a process was stopped while it wrote it", path)
        shutil.rmtree(path, ignore_errors=True)


def _hidden(destination: Path) -> list[Path]:
    # tempfile adds eight characters: "out" must not match the partial folder of "out.2".
    pattern = re.compile(rf"\.{re.escape(destination.name)}\.\w{{8}}({re.escape(PARTIAL)}|{re.escape(OLD)})")
    with contextlib.suppress(OSError):
        names = [path for path in destination.parent.iterdir() if pattern.fullmatch(path.name)]
        return [path for path in names if path.is_dir() and not path.is_symlink()]
    return []


@contextlib.contextmanager
def lock(destination: Path) -> Iterator[bool]:
    """Hold the lock of an output folder; yields whether locking is available (POSIX file systems with `flock`).

    The system releases the lock when the process ends in any way, so a lock is never stale.

    Raises:
        InputError: another process holds it, or the folder around it cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    destination = named(destination)
    path = destination.with_name(f".{destination.name}.lock")
    handle = _locked(path, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def _locked(path: Path, flock: Callable[[int, int], object], how: int) -> int | None:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise InputError(f"{path.parent}: cannot be written: {error.strerror}.") from None
        try:
            flock(handle, how)
        except BlockingIOError:
            holder = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            name = path.with_name(path.name[1 : -len(".lock")])
            who = f"another process (PID {holder})" if holder.isdigit() else "another process"
            raise InputError(f"{name}: {who} is writing it. Wait until it is done, or choose another --out.") from None
        except OSError:  # a network file system without locks
            os.close(handle)
            return None
        # The previous holder may have deleted the file we opened, and another process may have created a new one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where the kernel or the file system cannot."""
    rename = _renameat2()
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """Return Linux's renameat2 (kernel 3.15, glibc 2.28, musl 1.2.4), or None."""
    try:
        found = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    found.restype = ctypes.c_int
    return found
