"""The images that a user names by file, folder or pattern, and the names of their results."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import commonpath, normpath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeseg.core.suggestions import suggestion
from edgeseg.data.paths import IMAGE_SUFFIXES
from edgeseg.data.reading import read_image
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.data import Dataset, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """An image that is read later.

    `source` is its place for messages, `name` the relative path of its results, without suffix. `read` returns the
    image, (H, W, 3) uint8 BGR, and its labels, (H, W) uint8, or None if it is not from a data set.
    """

    source: str
    name: str
    read: Callable[[], tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]
    modified_s: float = 0.0


def find_images(texts: Sequence[str]) -> tuple[ListedImage, ...]:
    """Return the images in order, without duplicates.

    A folder means the images directly in it; `**` in a pattern means folders of any depth.

    Raises:
        InputError: no such path, no image in it, or a file of another type.
    """
    paths = list(dict.fromkeys(path for text in texts for path in _paths(text)))
    # Not resolve(): a link keeps the name that the user gave.
    places = [Path(normpath(path.absolute())) for path in paths]
    common = Path(commonpath([place.parent for place in places]))
    names = [place.relative_to(common) for place in places]
    stems = Counter(name.with_suffix("") for name in names)
    return tuple(
        ListedImage(
            source=str(path),
            # a.jpg and a.png in one folder would write the same file, so they keep their suffix.
            name=str(name if stems[name.with_suffix("")] > 1 else name.with_suffix("")),
            read=partial(_read, path),
            modified_s=path.stat().st_mtime,
        )
        for path, name in zip(paths, names, strict=True)
    )


def images_of(dataset: Dataset, *, limit: int | None = None) -> tuple[ListedImage, ...]:
    """Return the first `limit` images of a data set, with their labels."""
    count = len(dataset) if limit is None else min(limit, len(dataset))
    return tuple(
        ListedImage(
            source=f"{dataset.name} {dataset.split} {dataset.item_id(index)}",
            name=dataset.item_id(index),
            read=partial(_load, dataset, index),
        )
        for index in range(count)
    )


def _read(path: Path) -> tuple[NDArray[np.uint8], None]:
    return read_image(path), None


def _load(dataset: Dataset, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    sample: Sample = dataset.load(index)
    return sample.image, sample.labels


def _paths(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = [item for item in path.iterdir() if _is_image(item)]
        if not found:
            raise InputError(f"{text}: no images directly in it ({', '.join(IMAGE_SUFFIXES)}).{_below(path)}")
        return sorted(found)
    if path.exists():
        return [path]
    if glob.has_magic(text):
        found = [Path(item) for item in glob.iglob(text, recursive=True) if _is_image(Path(item))]  # noqa: PTH207 (pathlib wants absolute patterns split)
        if not found:
            raise InputError(f"{text}: no image matches. Check the pattern; ** means folders of any depth.")
        return sorted(found)
    near = suggestion(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    raise InputError(f"{text}: no such image or folder.{near}")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _below(folder: Path) -> str:
    holders = (item.parent for item in folder.rglob("*") if _is_image(item))
    first = next(holders, None)
    return f" Did you mean {first}, or the pattern '{folder}/**/*'?" if first is not None else ""
