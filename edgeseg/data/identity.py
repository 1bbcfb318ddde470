"""The identity of a data set: the hash of its images and labels, independent of its folder's name.

A run is resumed, a stage is reused and two measurements are compared only if these hashes are equal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.files import read_json, sha256_of, sha256_of_bytes
from edgeseg.errors import DatasetError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.progress import Progress
    from edgeseg.data.dataset import Dataset

DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIdentity:
    """A data set's identity: `items` maps each sample's name to a hash of its image and labels.

    `sha256` covers the items in order, the classes, the ignored index and the rules of decoding and mapping; `name` and
    `split` are for messages and not part of it.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    ignore_index: int
    rules: str
    items: dict[str, str]
    sha256: str

    def difference(self, now: DataIdentity) -> str:
        """Return how `now` differs, as text for a message; empty if both are the same data."""
        if self.sha256 == now.sha256:
            return ""
        parts = []
        if self.classes != now.classes:
            parts.append(_classes(self.classes, now.classes))
        if self.ignore_index != now.ignore_index:
            parts.append(f"the ignored index was {self.ignore_index} and is {now.ignore_index}")
        if self.rules != now.rules:
            parts.append("label values or the range of image values are mapped differently")
        gone = [name for name in self.items if name not in now.items]
        new = [name for name in now.items if name not in self.items]
        changed = [name for name, digest in self.items.items() if now.items.get(name, digest) != digest]
        for names, what in ((changed, "changed"), (gone, "gone"), (new, "new")):
            if names:
                total = len(self.items) if names is not new else len(now.items)
                parts.append(f"{len(names)} of {total} samples are {what}, first {names[0]}")
        if not parts:
            parts.append("the samples are in another order")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """The identities of a run's data sets by role ("train", "val"): the content of its data.json."""

    sets: dict[str, DataIdentity]


def explain_difference(record: Path, role: str, *, before_sha256: str, now: DataIdentity) -> str:
    """Return how a role's data differs from what it was; details come from the `DataRecord` in `record`."""
    try:
        before = read_json(DataRecord, record).sets.get(role) if record.is_file() else None
    except RecipeError:  # the details are damaged; that the data differ is known from the hash
        before = None
    known = before is not None and before.sha256 == before_sha256
    return (before.difference(now) if before is not None and known else "") or "its content has changed"


def identity(dataset: Dataset, *, on_progress: Progress | None = None) -> DataIdentity:
    """Return the identity of a data set.

    Samples are hashed as loaded, or as their files or by a text where the data set offers these: see `Dataset`.

    Raises:
        DatasetError: a sample's file cannot be read.
    """
    rules = str(getattr(dataset, "content_rules", ""))
    items = _items(dataset, on_progress=on_progress)
    whole = hashlib.sha256(repr((dataset.classes, dataset.ignore_index, rules)).encode())
    for name, digest in items.items():
        whole.update(f"{name}\x00{digest}\x00".encode())
    return DataIdentity(
        name=dataset.name,
        split=dataset.split,
        classes=tuple(dataset.classes),
        ignore_index=dataset.ignore_index,
        rules=rules,
        items=items,
        sha256=whole.hexdigest(),
    )


def _items(dataset: Dataset, *, on_progress: Progress | None) -> dict[str, str]:
    fingerprint = getattr(dataset, "content_fingerprint", None)
    if fingerprint is not None:
        return {dataset.name: sha256_of_bytes(str(fingerprint()).encode())[:DIGITS]}
    items = {}
    for index in range(len(dataset)):
        items[dataset.item_id(index)] = _item(dataset, index)
        if on_progress is not None:
            on_progress("hash", index + 1, len(dataset))
    return items


def _item(dataset: Dataset, index: int) -> str:
    files = getattr(dataset, "item_files", None)
    paths: tuple[Path, ...] = () if files is None else files(index)
    if paths:
        return sha256_of_bytes("".join(_hash(path) for path in paths).encode())[:DIGITS]
    sample = dataset.load(index)
    content = hashlib.sha256(repr((sample.image.shape, sample.labels.shape)).encode())
    content.update(np.ascontiguousarray(sample.image).data)
    content.update(np.ascontiguousarray(sample.labels).data)
    return content.hexdigest()[:DIGITS]


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). Check the file and its permissions.") from error


def _classes(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    if sorted(before) == sorted(now):
        first = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
        return f"the classes are in another order (class {first} was {before[first]} and is {now[first]})"
    return f"the classes were {', '.join(before)} and are {', '.join(now)}"
