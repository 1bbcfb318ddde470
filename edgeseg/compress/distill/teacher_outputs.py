"""What the teacher says to the images of a forward pass: read from its stored answers, or asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from edgeseg.compress.distill.crop_resampling import inside, warp
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
class Answer:
    """Logits under the student's cells (N, C, h, w), and the outputs (N, c, h, w) of the modules that were named."""

    logits: Tensor
    modules: dict[str, Tensor] = field(default_factory=dict)


class Answers(Protocol):
    """Answers to forward passes of one training set."""

    def answer(self, seen: Seen, *, cells: Cells) -> Answer: ...

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) lie on the image and not in its padding."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswers:
    """Answers to whole images, laid over the student's crops; `images` are their SHA-256, `sizes` in pixels."""

    cache: TeacherCache
    training: TrainingSet
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def answer(self, seen: Seen, *, cells: Cells) -> Answer:
        """Return the stored answers under the crops; raises `ArtifactError` where one was damaged meanwhile."""
        maps = torch.stack([self.cache.read(self.images[index]) for _, index in seen.keys]).float()
        return Answer(logits=warp(maps, crops=self._crops(seen), cells=cells).to(seen.images.device))

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) lie on the image."""
        return inside(self._crops(seen), cells=cells).to(seen.images.device)

    def _crops(self, seen: Seen) -> list[Crop]:
        return [self.training.crop(key, source_size=self.sizes[key[1]]) for key in seen.keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswers:
    """Answers to the student's own augmented images; `modules` of the first net are heard too."""

    teacher: Teacher
    spec: ModelSpec
    training: TrainingSet
    modules: Sequence[str] = ()
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def answer(self, seen: Seen, *, cells: Cells) -> Answer:
        """Return what the teacher gives for the images of the pass."""
        with tapped(self.teacher.views[0].net, self.modules) as heard:
            logits = self.teacher.answer_live(seen.images, spec=self.spec, cells=cells)
        return Answer(logits=logits, modules=heard)

    def mask(self, seen: Seen, *, cells: Cells) -> Tensor:
        """Return which cells (N, *cells) lie on the image."""
        crops = [self.training.crop(key, source_size=self._size(key[1])) for key in seen.keys]
        return inside(crops, cells=cells).to(seen.images.device)

    def _size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            height, width = self.training.original(index).labels.shape
            self._sizes[index] = (height, width)
        return self._sizes[index]


def store_answers(
    training: TrainingSet,
    *,
    cache: TeacherCache,
    open_teacher: Callable[[], Teacher],
    device: torch.device,
    on_event: OnEvent | None = None,
) -> StoredAnswers:
    """Return the stored answers to all training images, made where they are missing or damaged.

    The teacher is opened only if there is something to make. A build that is cut off goes on where it was.

    Raises:
        InputError: the cache's folder cannot be written.
        DatasetError: an image that cannot be read.
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
            cache.write(name, teacher.answer(image, device=device))
        names.append(name)
        sizes.append((image.shape[0], image.shape[1]))
        if on_event is not None and (index % 10 == 9 or index + 1 == total):
            on_event(Loading(data="the teacher's answers", done=index + 1, total=total))
    return StoredAnswers(cache=cache, training=training, images=tuple(names), sizes=tuple(sizes))
