"""Selection kinds: which of the candidate images become the calibration set.

Each is registered under `edgeseg.selections` and named by `edgeseg calibrate --selection`. Candidates come in an order
drawn by the seed, without constant images and near-duplicates; a kind returns the places of those that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenImage:
    """What the float model makes of one image.

    `class_pixels` (classes,) counts the cells of each class, `probabilities` (classes,) are their mean, `features`
    describe the logits (any length, the same for all), and `entropy` is the mean entropy of a cell as a share of the
    largest possible one: 0 is sure, 1 is guessing.
    """

    class_pixels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    features: NDArray[np.float64]
    entropy: float


@runtime_checkable
class SelectionKind(Protocol):
    """Chooses calibration images among candidates."""

    @property
    def identity(self) -> str:
        """The name that records hold; it changes when the method does."""
        ...

    @property
    def summary(self) -> str:
        """What it takes, in one line."""
        ...

    @property
    def candidates(self) -> int:
        """How many candidates it wants for each image that is taken."""
        ...

    def choose(self, candidates: Sequence[SeenImage], /, *, count: int) -> list[int]:
        """Return the places of up to `count` candidates, in the order in which they are taken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Half as drawn, half to cover rare classes; the default."""

    identity: str = "random-half-rare-class-half"
    summary: str = "half at random, half to cover rare classes"
    candidates: int = 3

    def choose(self, candidates: Sequence[SeenImage], *, count: int) -> list[int]:
        """Return the first half as drawn, then each time the one that adds most to the sum of log(1 + pixels)."""
        chosen = list(range(min((count + 1) // 2, len(candidates))))
        rest = list(range(len(chosen), len(candidates)))
        total = np.sum([candidates[place].class_pixels for place in chosen], axis=0)
        while rest and len(chosen) < count:
            gains = [float(np.log1p(total + candidates[place].class_pixels).sum()) for place in rest]
            chosen.append(rest.pop(int(np.argmax(gains))))
            total = total + candidates[chosen[-1]].class_pixels
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Random:
    """The images as drawn."""

    identity: str = "random"
    summary: str = "at random"
    candidates: int = 1

    def choose(self, candidates: Sequence[SeenImage], *, count: int) -> list[int]:
        """Return the first `count`."""
        return list(range(min(count, len(candidates))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratified:
    """The same number of images from each kind of scene.

    A scene's kind is the class of which it shows most compared with the average candidate.
    """

    identity: str = "stratified-by-class"
    summary: str = "the same number for each class that stands out"
    candidates: int = 3

    def choose(self, candidates: Sequence[SeenImage], *, count: int) -> list[int]:
        """Return one of each stratum in turn, the smallest stratum first, each in the order of the draw."""
        if not candidates:
            return []
        shares = np.stack([item.class_pixels / max(1, int(item.class_pixels.sum())) for item in candidates])
        standing_out = (shares / np.maximum(shares.mean(axis=0), 1e-12)).argmax(axis=1)
        strata: dict[int, list[int]] = {}
        for place, label in enumerate(standing_out.tolist()):
            strata.setdefault(label, []).append(place)
        queues = sorted(strata.values(), key=len)
        chosen: list[int] = []
        while len(chosen) < min(count, len(candidates)):
            for queue in queues:
                if queue and len(chosen) < count:
                    chosen.append(queue.pop(0))
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Coreset:
    """The images that lie furthest apart by what the model makes of them (Sener & Savarese, ICLR 2018: k-center)."""

    identity: str = "coreset-k-center"
    summary: str = "those furthest apart by the model's logits"
    candidates: int = 3

    def choose(self, candidates: Sequence[SeenImage], *, count: int) -> list[int]:
        """Return the one nearest to the mean, then each time the one furthest from all that are taken."""
        if not candidates:
            return []
        features = np.stack([item.features for item in candidates])
        features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-12)
        chosen = [int(np.square(features).sum(axis=1).argmin())]
        distance = np.full(len(candidates), np.inf)
        while len(chosen) < min(count, len(candidates)):
            distance = np.minimum(distance, np.square(features - features[chosen[-1]]).sum(axis=1))
            distance[chosen] = -1.0
            chosen.append(int(distance.argmax()))
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardest:
    """The images of which the model is least sure."""

    identity: str = "hardest-by-entropy"
    summary: str = "those of which the model is least sure"
    candidates: int = 3

    def choose(self, candidates: Sequence[SeenImage], *, count: int) -> list[int]:
        """Return those with the highest mean entropy, the highest first."""
        order = np.argsort([-item.entropy for item in candidates], kind="stable")
        return [int(place) for place in order[:count]]


MIXED, RANDOM, STRATIFIED, CORESET, HARDEST = Mixed(), Random(), Stratified(), Coreset(), Hardest()
