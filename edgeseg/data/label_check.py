"""Checks whether a split's labels can train or score a net, by the pixels of each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.dataset import Dataset, Sample
from edgeseg.data.paths import refuse
from edgeseg.data.subset import Subset
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.progress import Progress

OR_SKIP = "Fix or remove them, or skip them with --skip-broken."
MAP = "If other values mean classes, map them in dataset.toml: [classes] background = 0, person = 255."


@dataclass(slots=True, kw_only=True)
class LabelCounts:
    """Counts the pixels of each class, (C,) int64, and the ignored ones."""

    classes: tuple[str, ...]
    ignore_index: int
    pixels: NDArray[np.int64] = field(init=False)
    ignored: int = 0
    images: int = 0

    def __post_init__(self) -> None:
        self.pixels = np.zeros(len(self.classes), np.int64)

    def add(self, labels: NDArray[np.uint8]) -> None:
        """Count one label map, (H, W) uint8."""
        found = np.bincount(labels.reshape(-1), minlength=256)
        self.ignored += int(found[self.ignore_index])
        found[self.ignore_index] = 0
        self.pixels += found[: len(self.classes)]
        self.images += 1

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the classes that have no pixel."""
        return tuple(name for name, count in zip(self.classes, self.pixels, strict=True) if not count)

    def check(self, what: str) -> tuple[str, ...]:
        """Return warnings about the labels of `what`, a data set and its split.

        Raises:
            DatasetError: every pixel is ignored, or only one of several classes occurs: there is nothing to learn, and
                any net would score 100 %.
        """
        total = int(self.pixels.sum())
        if not total:
            raise DatasetError(
                f"{what}: every pixel of {self.images} label maps is {self.ignore_index}, which is ignored. {MAP}"
            )
        if not self.missing:
            return ()
        if len(self.missing) == len(self.classes) - 1:
            only = next(name for name in self.classes if name not in self.missing)
            share = self.ignored / (total + self.ignored)
            rest = f"; {share:.1%} of the pixels are {self.ignore_index}, which is ignored" if self.ignored else ""
            raise DatasetError(
                f"{what}: {only} is the only one of {len(self.classes)} classes that occurs; no pixel is "
                f"{_listed(self.missing)}{rest}. Any net would score 100 %. {MAP}"
            )
        return (
            f"{what}: no pixel is {_listed(self.missing)}: {len(self.missing)} of {len(self.classes)} classes never "
            "occur, so nothing is learnt or scored for them. Check classes.txt and the label maps.",
        )


class Counted:
    """A data set that counts the labels of loaded samples in `counts`."""

    def __init__(self, whole: Dataset) -> None:
        self._whole = whole
        self.counts = LabelCounts(classes=whole.classes, ignore_index=whole.ignore_index)

    def __getattr__(self, name: str) -> object:
        return getattr(self._whole, name)

    def __len__(self) -> int:
        return len(self._whole)

    def load(self, index: int) -> Sample:
        """Return a sample and count its labels."""
        sample = self._whole.load(index)
        self.counts.add(sample.labels)
        return sample

    def findings(self) -> tuple[str, ...]:
        """Return warnings about the loaded labels; raises `DatasetError` as `LabelCounts.check` does."""
        return self.counts.check(f"{self._whole.name} {self._whole.split}")


def findings(counted: Counted, *, limit: int | None) -> tuple[str, ...]:
    """Return warnings about the loaded labels; labels of one class are refused, unless `limit` left images out.

    Raises:
        DatasetError: without a `limit`, as `LabelCounts.check` does.
    """
    try:
        return counted.findings()
    except DatasetError as error:
        if limit is None:
            raise
        return (str(error),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A data set that was read once: its usable part, its samples if kept in memory, and what was found."""

    data: Dataset
    samples: tuple[Sample, ...] | None
    counts: LabelCounts
    broken: tuple[str, ...] = ()


def read_all(data: Dataset, *, keep: bool, skip_broken: bool = False, on_progress: Progress | None = None) -> Checked:
    """Return a data set after reading every sample; with `skip_broken`, without those that cannot be used.

    Raises:
        DatasetError: samples cannot be used (the message names every file), or none is left.
    """
    counts = LabelCounts(classes=data.classes, ignore_index=data.ignore_index)
    samples: list[Sample] = []
    good: list[int] = []
    broken: list[str] = []
    for index in range(len(data)):
        try:
            sample = data.load(index)
        except DatasetError as error:
            broken.append(str(error))
        else:
            counts.add(sample.labels)
            good.append(index)
            if keep:
                samples.append(sample)
        if on_progress is not None:
            on_progress("read", index + 1, len(data))
    if broken and not (skip_broken and good):
        total = f"{len(broken)} of {len(data)} samples of {data.name} {data.split} cannot be used. {OR_SKIP}"
        refuse([*broken, total])
    used = Subset(whole=data, indices=tuple(good), split=data.split) if broken else data
    return Checked(data=used, samples=tuple(samples) if keep else None, counts=counts, broken=tuple(broken))


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
