"""A data set from the text that a user gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.data.folder import FolderDataset
from edgeseg.data.streets import StreetsDataset
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.data.dataset import Dataset

_DEFAULT_COUNT = {"train": 4000, "val": 200, "test": 200}


def open_dataset(text: str, *, split: str) -> Dataset:
    """Return the data set that `text` names: a folder, or `streets[:count[:seed]]`.

    A folder that is itself called `streets` is reached as `./streets`.
    Raises `DatasetError`, `InputError` or `UnknownName`.
    """
    words = text.split(":")
    if words[0] != "streets":
        return FolderDataset.open(text, split=split)
    numbers = words[1:]
    if len(numbers) > 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise InputError(f'"{text}" is not streets[:count[:seed]]. Write for example streets:500 or streets:500:3.')
    count = int(numbers[0]) if numbers else _DEFAULT_COUNT.get(split, 200)
    return StreetsDataset(split=split, count=count, seed=int(numbers[1]) if len(numbers) == 2 else 0)
