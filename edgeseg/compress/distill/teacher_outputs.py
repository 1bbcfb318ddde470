"""The teacher's outputs for the images of a forward pass: read from the cache, or computed live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from edgeseg.compress.distill.crop_resampling import inside, sample_crops
from edgeseg.compress.distill.teacher import Teacher
from edgeseg.compress.distill.teacher_cache import TeacherCache, image_sha256
from edgeseg.core.spec import ModelSpec
from edgeseg.graph.forward_hooks import tapped
from edgeseg.train.events import Loading, OnEvent
from edgeseg.train.samples import TrainingSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.data import Crop
    from edgeseg.train.method import Seen

Cells = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOutput:
    """Logits at the student's cells (N, C, h, w), and the outputs (N, c, h, w) of the named modules."""

    logits: Tensor
    modules: dict[str, Tensor] = field(default_factory=dict)


class TeacherOutputs(Protocol):
    """Teacher outputs for forward passes on one training set."""

    def output(self, seen: Seen, *, cells: Cells) -> TeacherOutput:
        """Return the teacher's output at `cells` (rows, columns) of each of the student's crops."""
        ...

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) are on the image, not in its padding."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutputs:
    """Stored outputs for whole images, sampled at the student's crops; `images` are SHA-256, `sizes` in pixels."""

    cache: TeacherCache
    training: TrainingSet
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def output(self, seen: Seen, *, cells: Cells) -> TeacherOutput:
        """Return the stored outputs at the crops; raises `ArtifactError` if one has been damaged."""
        maps = torch.stack([self.cache.read(self.images[index]) for _, index in seen.keys]).float()
        return TeacherOutput(logits=sample_crops(maps, crops=self._crops(seen), cells=cells).to(seen.images.device))

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) lie on the image."""
        return inside(self._crops(seen), cells=cells).to(seen.images.device)

    def _crops(self, seen: Seen) -> list[Crop]:
        return [self.training.crop(key, source_size=self.sizes[key[1]]) for key in seen.keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOutputs:
    """Outputs for the student's own augmented images; outputs of `modules` of the first net are recorded too."""

    teacher: Teacher
    spec: ModelSpec
    training: TrainingSet
    modules: Sequence[str] = ()
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def output(self, seen: Seen, *, cells: Cells) -> TeacherOutput:
        """Return the teacher's output for the images of the pass."""
        with tapped(self.teacher.views[0].net, self.modules) as recorded:
            logits = self.teacher.live_output(seen.images, spec=self.spec, cells=cells)
        return TeacherOutput(logits=logits, modules=recorded)

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) lie on the image."""
        crops = [self.training.crop(key, source_size=self._size(key[1])) for key in seen.keys]
        return inside(crops, cells=cells).to(seen.images.device)

    def _size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            height, width = self.training.original(index).labels.shape
            self._sizes[index] = (height, width)
        return self._sizes[index]


def store_outputs(
    training: TrainingSet,
    *,
    cache: TeacherCache,
    open_teacher: Callable[[], Teacher],
    device: torch.device,
    on_event: OnEvent | None = None,
) -> StoredOutputs:
    """Return the stored outputs for all training images; missing or damaged ones are computed.

    The teacher is opened only if needed. An interrupted build continues where it stopped.

    Raises:
        InputError: the cache folder cannot be written.
        DatasetError: an image cannot be read.
    """
    cache.open()
    total, names, sizes = len(training.data), [], []
    teacher: Teacher | None = None
    for index in range(total):
        image = training.original(index).image
        name = image_sha256(image)
        if not cache.holds(name):
            if teacher is None:
                teacher = open_teacher().to(device)
            cache.write(name, teacher.output(image, device=device))
        names.append(name)
        sizes.append((image.shape[0], image.shape[1]))
        if on_event is not None and (index % 10 == 9 or index + 1 == total):
            on_event(Loading(data="teacher outputs", done=index + 1, total=total))
    return StoredOutputs(cache=cache, training=training, images=tuple(names), sizes=tuple(sizes))
