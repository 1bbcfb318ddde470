"""Small files of /proc and /sys, which may be missing or unreadable."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return a small file's text without surrounding blanks and NULs; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0").strip()
    except OSError:  # a sensor of a part that is powered off fails with EAGAIN or EIO
        return None


def read_int(path: Path) -> int | None:
    """Return a file's whole number; None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def control_groups(root: Path) -> list[Path]:
    """Return the folders of this process's control group (version 2) and of those above it."""
    top = root / "sys/fs/cgroup"
    own = next(
        (line[3:] for line in (read_text(root / "proc/self/cgroup") or "").splitlines() if line[:3] == "0::"), ""
    )
    folder = top / own.strip().lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent == top or top in parent.parents)]
