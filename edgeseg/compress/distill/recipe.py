"""The settings of a distillation: teachers, loss terms and schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePair:
    """A module of the student, by its name inside the net, and the teacher's module it is compared with."""

    student: str
    teacher: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.student or not self.teacher or self.weight < 0:
            raise ValueError("a pair of features names a module of the student and one of the teacher; weight >= 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRecipe:
    """The loss is labels * own + fade * (logits * KD + channels * CWD + pairs * pairwise + pixels * CIRKD + features).

    See `edgeseg.compress.distill.losses` for the terms. Teachers are checkpoints (paths or bundled names) with the
    student's classes; outputs of several teachers and of several views of an image are averaged.
    """

    teachers: tuple[str, ...]
    mean: Literal["logits", "probabilities"] = "logits"
    """What is averaged over teachers and views; mean probabilities are used as logits by taking their logarithm."""
    flip: bool = False
    """Also run the teachers on the flipped image."""
    scales: tuple[float, ...] = (1.0,)
    """Image sizes for the teachers, relative to their input size."""
    labels: float = 1.0
    """Weight of the recipe's own loss on labels."""
    logits: float = 1.0
    """Weight of pixel-wise KD on logits."""
    temperature: float = 4.0
    """Temperature of pixel-wise KD."""
    channels: float = 0.0
    """Weight of channel-wise distillation (CWD) on logits."""
    channel_temperature: float = 4.0
    """Temperature of CWD."""
    pairs: float = 0.0
    """Weight of the pairwise similarities inside an image, on logits."""
    pixels: float = 0.0
    """Weight of the pixel relations across the batch (CIRKD), on logits."""
    pixel_temperature: float = 0.1
    """Temperature of CIRKD's similarities, which lie between -1 and 1."""
    pool: int = 4
    """Cells along each side of a node of the two relation terms."""
    features: tuple[FeaturePair, ...] = ()
    """Modules whose outputs are compared through a learned 1x1 convolution; one live teacher, one view."""
    start: float = 0.0
    """Share of the run's steps after which distillation starts."""
    fade_from: float = 1.0
    """From this share of the steps on, the weight of distillation falls linearly to 0 at the end."""
    live: bool = False
    """Run the teachers at every step on the student's augmented images, and store nothing."""
    cache: str = ""
    """Folder of stored teacher outputs; empty means the user's cache folder."""
    stride: int = 8
    """Pixels of the first teacher's input along each side of a stored cell."""

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ValueError("teachers is empty; name at least one checkpoint.")
        terms = (self.logits, self.channels, self.pairs, self.pixels)
        if min(*terms, self.labels) < 0:
            raise ValueError("weights are 0 or more.")
        if sum(terms) + sum(pair.weight for pair in self.features) <= 0:
            raise ValueError("no term has a weight above 0; the teacher would have no effect.")
        if min(self.temperature, self.channel_temperature, self.pixel_temperature) <= 0:
            raise ValueError("temperatures are above 0.")
        if not self.scales or min(self.scales) <= 0 or max(self.scales) > 4:
            raise ValueError("scales are from above 0 to 4, at least one.")
        if not 0 <= self.start < 1 or not self.start <= self.fade_from <= 1:
            raise ValueError("start is from 0 to below 1, fade_from from start to 1.")
        if self.stride < 1 or self.pool < 1:
            raise ValueError("stride and pool are 1 or more.")
        if self.features and not (self.live and len(self.teachers) == 1 and self.scales == (1.0,) and not self.flip):
            raise ValueError("features need live = true, one teacher, scales = [1.0] and flip = false.")

    def fade(self, *, step: int, steps: int) -> float:
        """Return the factor, 0 to 1, on the distillation terms at a step (from 0)."""
        done = step / steps
        if done < self.start:
            return 0.0
        return 1.0 if done < self.fade_from else (1 - done) / (1 - self.fade_from)
