"""A recipe's training and validation data: opened, read once, checked, and identified by content."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.data import DataIdentity, identity, open_dataset
from edgeseg.data.label_check import Checked, read_all
from edgeseg.data.splits import folds
from edgeseg.errors import DatasetError, RecipeError
from edgeseg.train.events import Loading, Notice, OnEvent

if TYPE_CHECKING:
    from edgeseg.data import Augment, Dataset
    from edgeseg.train.recipe import DataRecipe

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """A run's two data sets; only the first process holds the validation samples."""

    training: Checked
    validation: Checked | None
    validation_data: Dataset

    def identities(self) -> dict[str, DataIdentity]:
        """Return the identities of both; raises `DatasetError` if a file cannot be read."""
        return {"train": identity(self.training.data), "val": identity(self.validation_data)}


def open_pair(source: DataRecipe) -> tuple[Dataset, Dataset]:
    """Return the training and the validation data set of a recipe; reads file names only.

    Raises:
        InputError, DatasetError: one cannot be opened, their classes differ, or the fold does not exist.
    """
    training = open_dataset(source.train, split=source.train_split, decoding=source.decoding())
    if source.fold is not None:
        return folds(training, pattern=source.fold.pattern, fold=source.fold.name)
    validation = open_dataset(source.val or source.train, split=source.val_split, decoding=source.decoding())
    if validation.classes != training.classes:
        raise DatasetError(
            f"{validation.name} has the classes {', '.join(validation.classes)}; "
            f"{training.name} has {', '.join(training.classes)}. Train and val need the same classes in the same order."
        )
    return training, validation


def read_pair(
    source: DataRecipe, *, skip_broken: bool = False, first: bool = True, on_event: OnEvent | None = None
) -> TrainingData:
    """Return a recipe's data after reading every sample once; only the `first` process reads the validation data.

    Raises:
        InputError, DatasetError: as `open_pair` raises; samples cannot be used (the message names every file), or the
            labels leave nothing to learn.
    """
    training, validation = open_pair(source)
    read = _read(training, keep=source.cache, skip_broken=skip_broken, on_event=on_event)
    checked = _read(validation, keep=True, skip_broken=skip_broken, on_event=on_event) if first else None
    return TrainingData(
        training=read, validation=checked, validation_data=validation if checked is None else checked.data
    )


def pair_identities(source: DataRecipe, *, on_event: OnEvent | None = None) -> dict[str, DataIdentity]:
    """Return the identities of a recipe's data by role (train, val); raises as `open_pair` and `identity`."""

    def report(_what: str, done: int, total: int) -> None:
        if on_event is not None and (done % 10 == 0 or done == total):
            on_event(Loading(data="the data's hashes", done=done, total=total))

    training, validation = open_pair(source)
    return {
        "train": identity(training, on_progress=report),
        "val": identity(validation, on_progress=report),
    }


def augment_for(augment: Augment, *, ignore_index: int) -> Augment:
    """Return the recipe's augmentation with the data's ignored index, which is also used for padding.

    Raises:
        RecipeError: the recipe gives another index.
    """
    if augment.ignore_index not in (None, ignore_index):
        raise RecipeError(
            f"[augment] ignore_index = {augment.ignore_index}, but the data ignores {ignore_index}: padding would be "
            "trained as a class. Remove the key; the default is the data's own index."
        )
    return dataclasses.replace(augment, ignore_index=ignore_index)


def _read(data: Dataset, *, keep: bool, skip_broken: bool, on_event: OnEvent | None) -> Checked:
    what = f"{data.name} {data.split}"

    def report(_what: str, done: int, total: int) -> None:
        if on_event is not None and (done % 10 == 0 or done == total):
            on_event(Loading(data=what, done=done, total=total))

    checked = read_all(data, keep=keep, skip_broken=skip_broken, on_progress=report)
    notices = [f"left out: {fault}" for fault in checked.broken]
    if checked.broken:
        notices.append(f"{what}: {len(checked.broken)} of {len(data)} samples cannot be used and are left out.")
    for text in (*notices, *checked.counts.check(what)):
        _log.warning("%s", text)
        if on_event is not None:
            on_event(Notice(text=text))
    return checked
