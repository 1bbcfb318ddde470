"""Opens data sets by the text that a user gives."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeseg.core import registry
from edgeseg.data.description import FILE, Description, read_description
from edgeseg.data.splits import part
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from edgeseg.data.dataset import Dataset
    from edgeseg.data.decoding import Decoding

_NAMED = re.compile(r"([a-z][a-z0-9-]*):(.*)", re.DOTALL)


@runtime_checkable
class Reader(Protocol):
    """Opens data sets of one layout; registered in the entry-point group `edgeseg.datasets`.

    `place` is the text after the reader's name and a colon, usually a folder; `description` is the data set's
    dataset.toml, or the defaults with `root` set to the place. Opening reads file names only.
    """

    summary: str

    def open(self, place: str, /, *, split: str, description: Description) -> Dataset:
        """Return the data set; raises `DatasetError`, `InputError` or `UnknownName` if it cannot be opened."""
        ...


def readers() -> tuple[str, ...]:
    """Return the names of the readers, sorted."""
    return registry.names("datasets")


def open_dataset(text: str, *, split: str, decoding: Decoding | None = None) -> Dataset:
    """Return the data set that `text` names: a folder, a dataset.toml, or `READER:PLACE` (`streets:500`, `voc:DIR`).

    A folder with the name of a reader is opened as `./streets`. `decoding` takes precedence over the data set's rules.

    Raises:
        DatasetError, InputError, UnknownName, RecipeError: it cannot be opened; the message says why.
    """
    name, place, description = _described(text)
    if decoding is not None:
        rules = decoding.over(description.data.decoding())
        table = dataclasses.replace(description.data, range=rules.range, max_pixels=rules.max_pixels)
        description = dataclasses.replace(description, data=table)
    reader = registry.load_as("datasets", name, Reader)  # type: ignore[type-abstract]
    if description.splits.given:
        whole = _with_names(reader.open(place, split="", description=description))
        return part(whole, split=split, rules=description.splits, root=Path(description.root))
    return _with_names(reader.open(place, split=split, description=description))


def _with_names(data: Dataset) -> Dataset:
    """Return a data set whose names are all different: results, splits and the identity go by name.

    Raises:
        DatasetError: two samples have the same name.
    """
    taken: dict[str, int] = {}
    for index in range(len(data)):
        name = data.item_id(index)
        if name in taken:
            files = getattr(data, "item_files", None)
            both = "" if files is None else f" ({files(taken[name])[0]} and {files(index)[0]})"
            raise DatasetError(
                f'{data.name} {data.split}: two samples are called "{name}"{both}. Rename or remove one of the two.'
            )
        taken[name] = index
    return data


def is_folder(text: str) -> bool:
    """Return whether `text` names a plain folder, not a reader's place or a data set with a dataset.toml."""
    name, _, description = _described(text)
    return name == "folder" and not description.splits.given and not text.endswith(".toml")


def _described(text: str) -> tuple[str, str, Description]:
    """Return the reader's name, the place that it opens, and the description."""
    if text in readers():
        return text, "", Description()
    named = _NAMED.fullmatch(text)
    if named is None or named[1] not in readers():
        description = read_description(text)
        return description.reader, description.root, description
    place = named[2]
    return named[1], place, read_description(place) if (Path(place) / FILE).is_file() else Description(root=place)
