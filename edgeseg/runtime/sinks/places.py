"""Checks of output paths: not an input, not an existing file without --force, not on a full disk."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEAST_FREE_BYTES = 16 << 20
"""How much a video may grow between two checks, and needs to be finished."""


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `InputError` for an existing file that may not be replaced; pipes and devices may be written to."""
    if path.is_file() and not force:
        raise InputError(f"{path}: exists already. Choose another name, or replace it with --force.")


def refuse_inputs(outputs: Sequence[Path], *, inputs: Sequence[Path]) -> None:
    """Raise `InputError` if an output is an input, is a file of an input folder, or is named twice."""
    for number, output in enumerate(outputs):
        if any(_same(output, other) for other in outputs[:number]):
            raise InputError(f"{output}: is given for two outputs. Give each its own path.")
        for given in inputs:
            if _same(output, given):
                raise InputError(f"{output}: is an input of this run and is not overwritten. Choose another path.")
            if output.is_file() and given.is_dir() and given.resolve() in output.resolve().parents:
                raise InputError(f"{output}: is a file of {given}, an input of this run. Choose another name.")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist yet
        return one.resolve() == other.resolve()


def make_parent(path: Path) -> None:
    """Create the parent folder of `path`; raises `InputError` if it cannot be written, or its disk is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be created: {error.strerror}.") from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: cannot be written; choose another place.")
    refuse_full_disk(path)


def refuse_full_disk(path: Path, *, partial: Path | None = None) -> None:
    """Raise `InputError` if the disk of `path`, or the file size limit, leaves no room to finish a video.

    OpenCV's writer does not report a failed write, and leaves a file that no player opens.
    """
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < LEAST_FREE_BYTES:
        raise InputError(f"{path}: the disk is full ({free_bytes >> 20} MB left). Free some space or save elsewhere.")
    limit_bytes = _file_limit_bytes()
    if partial is None or limit_bytes is None:
        return
    size_bytes = partial.stat().st_size if partial.exists() else 0
    if size_bytes + min(LEAST_FREE_BYTES, limit_bytes // 2) > limit_bytes:
        raise InputError(
            f"{path}: has {size_bytes >> 10} kB, and this process may write files of {limit_bytes >> 10} kB at most. "
            "See ulimit -f."
        )


def _file_limit_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit_bytes == resource.RLIM_INFINITY else limit_bytes
