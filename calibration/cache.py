"""What a net made of images, kept by content, so that an interrupted or repeated calibration need not look again.

One folder a net, named by the hash of its graph and weights, in the user's state folder (`edgeseg.core.trust`); in it
one file a kind of finding, a JSON object a line, appended as they are found. A line that was cut off, by a full disk or
a killed process, is skipped. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeseg.core.trust import state_folder

if TYPE_CHECKING:
    from pathlib import Path

NETS_KEPT = 16
"""How many nets' findings are kept: the least recently used go."""

Record = Mapping[str, Any]


class ContentCache:
    """Findings of one kind about images, by the hash of what was looked at."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[str, Record] = {}
        if path is None:
            return
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    self._records[str(record["key"])] = dict(record["value"])

    def get(self, key: str) -> Record | None:
        """Return what is known under a key, None if nothing is."""
        return self._records.get(key)

    def put(self, key: str, value: Record) -> None:
        """Keep a finding, here and on disk."""
        self._records[key] = value
        if self._path is None:
            return
        line = json.dumps({"key": key, "value": value}, separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line)


class NetCache:
    """What is kept of one net; `of` opens one file of it."""

    def __init__(self, net_sha256: str | None) -> None:
        self._folder = None if net_sha256 is None else _opened(net_sha256)

    def of(self, kind: str) -> ContentCache:
        """Return the findings of a kind ("seen", "spans", "ranges")."""
        return ContentCache(None if self._folder is None else self._folder / f"{kind}.jsonl")


NO_CACHE = NetCache(None)


def _opened(net_sha256: str) -> Path | None:
    """Return the net's folder, made if need be; None where there is no place for one."""
    try:
        root = state_folder() / "calibration"
        folder = root / net_sha256
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.touch()
        folders = sorted((item for item in root.iterdir() if item.is_dir()), key=lambda item: -item.stat().st_mtime_ns)
    except (OSError, RuntimeError):  # a read-only system, or no home folder
        return None
    for old in folders[NETS_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
