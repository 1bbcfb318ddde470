"""Distillation as a way of training: `train(recipe, out=..., method=Distill(settings))`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress import distill_losses
from edgeseg.compress.distill_recipe import DistillRecipe
from edgeseg.compress.tapping import Adapted, channels, tapped
from edgeseg.compress.teacher import Teacher, check_teachers, open_teacher, teacher_identity
from edgeseg.compress.teacher_cache import TeacherCache, default_root, picture_sha256
from edgeseg.compress.warp import warp
from edgeseg.core.records import encode
from edgeseg.core.spec import ModelSpec
from edgeseg.train.events import Loading, OnEvent
from edgeseg.train.method import Method, Seen
from edgeseg.train.recipe import Recipe

if TYPE_CHECKING:
    from edgeseg.train.samples import TrainingSet


class Distill(Method):
    """Adds what a teacher says to the loss. `student` is the way that the student itself is started and kept."""

    def __init__(self, recipe: DistillRecipe, *, student: Method | None = None) -> None:
        self.recipe, self.student = recipe, student or Method()
        self._fade = 0.0
        self._net: nn.Module | None = None
        self._spec: ModelSpec | None = None
        self._training: TrainingSet | None = None
        self._teacher: Teacher | None = None
        self._cache: TeacherCache | None = None
        self._pictures: list[_Picture] = []

    def fingerprint(self) -> str:
        """Return settings and teachers' SHA-256; where the answers are stored changes nothing and is left out."""
        told = {
            "distill": encode(dataclasses.replace(self.recipe, cache="")),
            "teacher": teacher_identity(self.recipe),
            "student": self.student.fingerprint(),
        }
        return json.dumps(told, sort_keys=True)

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the student's net, with adapters around it where features are compared.

        Raises:
            InputError: a teacher of other classes, or no such checkpoint or module.
        """
        check_teachers(self.recipe, classes=spec.classes)
        net, start = self.student.start(recipe, spec)
        if self.recipe.features:
            net = self._adapted(net, spec=spec)
        return net, start

    def prepare(self, net: nn.Module, *, spec: ModelSpec, training: TrainingSet, on_event: OnEvent | None) -> None:
        """Open the teacher; unless it is live, let it see each training picture that it has no stored answer to."""
        self.student.prepare(_student(net), spec=spec, training=training, on_event=on_event)
        self._net, self._spec, self._training = net, spec, training
        device = next(net.parameters()).device
        if self.recipe.live:
            self._teacher = self._teacher or open_teacher(self.recipe)
            self._teacher.to(device)
        else:
            root = Path(self.recipe.cache).expanduser() if self.recipe.cache else default_root()
            self._cache = TeacherCache(root=root, identity=teacher_identity(self.recipe))
            self._cache.open()
        if _first_process():
            self._look(device=device, on_event=on_event)
        if _several_processes():
            torch.distributed.barrier()
            if not _first_process():
                self._look(device=device, on_event=None)

    def before_step(self, net: nn.Module, *, step: int, steps: int) -> None:
        """Set how loudly the teacher speaks."""
        self.student.before_step(_student(net), step=step, steps=steps)
        self._fade = self.recipe.fade(step=step, steps=steps)

    def loss(self, plain: Tensor, *, seen: Seen) -> Tensor:
        """Return the weighted sum of the labels' loss and the teacher's terms."""
        total = self.recipe.labels * self.student.loss(plain, seen=seen)
        if not self._fade and not self.recipe.features:
            return total
        logits = seen.outputs[0].float()
        cells = (logits.shape[2], logits.shape[3])
        if self.recipe.live:
            answer, heard = self._ask(seen, cells=cells)
            mask = self._mask(seen, cells=cells, device=logits.device)
            told = self._features(heard, seen=seen)
        else:
            answer, mask = self._stored(seen, cells=cells, device=logits.device)
            told = logits.new_zeros(())
        return total + self._fade * (told + self._terms(logits, answer, mask=mask))

    def keep(self, folder: Path, *, net: nn.Module, spec: ModelSpec, training: Mapping[str, object]) -> None:
        """Write the student's checkpoint; its account names the settings and the teachers."""
        account = {**training, "distill": encode(self.recipe), "teacher": teacher_identity(self.recipe)}
        self.student.keep(folder, net=_student(net), spec=spec, training=account)

    def _terms(self, student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
        """Return the weighted sum of the terms on logits (N, C, h, w)."""
        own, total = self.recipe, student.new_zeros(())
        if own.logits:
            total = total + own.logits * distill_losses.logits_kd(
                student, teacher, mask=mask, temperature=own.temperature
            )
        if own.channels:
            total = total + own.channels * distill_losses.channel_wise(
                student, teacher, mask=mask, temperature=own.channel_temperature
            )
        if own.pairs:
            total = total + own.pairs * distill_losses.pairwise(student, teacher, mask=mask, pool=own.pool)
        if own.pixels:
            total = total + own.pixels * distill_losses.batch_pixels(
                student, teacher, mask=mask, pool=own.pool, temperature=own.pixel_temperature
            )
        return total

    def _look(self, *, device: torch.device, on_event: OnEvent | None) -> None:
        """Note each picture's size and, with a cache, its SHA-256, and have the answers made that are missing."""
        training = self._required(self._training)
        total = len(training.data)
        self._pictures = []
        for index in range(total):
            image = training.original(index).image
            name = ""
            if self._cache is not None:
                name = picture_sha256(image)
                self._cache.ensure(name, lambda image=image: self._opened(device).answer(image, device=device))  # type: ignore[misc]
            self._pictures.append(_Picture(size=(image.shape[0], image.shape[1]), sha256=name))
            if on_event is not None and (index % 10 == 9 or index + 1 == total):
                on_event(Loading(data="teacher's answers", done=index + 1, total=total))
        if self._cache is not None:
            self._teacher = None

    def _opened(self, device: torch.device) -> Teacher:
        if self._teacher is None:
            self._teacher = open_teacher(self.recipe)
            self._teacher.to(device)
        return self._teacher

    def _stored(self, seen: Seen, *, cells: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the stored answers under the student's cells, (N, C, *cells), and which of them are no padding."""
        cache, training = self._required(self._cache), self._required(self._training)
        pictures = [self._pictures[index] for _, index in seen.keys]
        maps = torch.stack([cache.read(picture.sha256) for picture in pictures]).float()
        crops = [training.crop(key, picture=item.size) for key, item in zip(seen.keys, pictures, strict=True)]
        answer, mask = warp(maps, crops=crops, cells=cells)
        return answer.to(device), mask.to(device)

    def _ask(self, seen: Seen, *, cells: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the live teachers' answer, (N, C, *cells), and the outputs of the modules that are compared."""
        teacher, names = self._required(self._teacher), [pair.teacher for pair in self.recipe.features]
        with tapped(teacher.views[0].net, names) as heard:
            answer = teacher.answer_live(seen.pictures, spec=self._required(self._spec), cells=cells)
        return answer, heard

    def _mask(self, seen: Seen, *, cells: tuple[int, int], device: torch.device) -> Tensor:
        training = self._required(self._training)
        crops = [training.crop(key, picture=self._pictures[key[1]].size) for key in seen.keys]
        return warp(torch.zeros(len(crops), 1, 1, 1), crops=crops, cells=cells)[1].to(device)

    def _features(self, heard: dict[str, Tensor], *, seen: Seen) -> Tensor:
        """Return the weighted sum of the feature terms, on the student's grids."""
        total = seen.outputs[0].new_zeros((), dtype=torch.float32)
        if not isinstance(self._net, Adapted):
            return total
        for pair, own in zip(self.recipe.features, self._net.take(), strict=True):
            cells = (own.shape[2], own.shape[3])
            wanted = nn.functional.interpolate(heard[pair.teacher].float(), size=cells, mode="bilinear")
            mask = self._mask(seen, cells=cells, device=own.device)
            total = total + pair.weight * distill_losses.features(own.float(), wanted, mask=mask)
        return total

    def _adapted(self, net: nn.Module, *, spec: ModelSpec) -> Adapted:
        self._teacher = open_teacher(self.recipe)
        names, cpu = [pair.student for pair in self.recipe.features], torch.device("cpu")
        view = self._teacher.views[0]
        theirs = [pair.teacher for pair in self.recipe.features]
        return Adapted(
            net,
            names=names,
            inputs=channels(net, names, size=spec.size, device=cpu),
            outputs=channels(view.net, theirs, size=view.spec.size, device=cpu),
        )

    @staticmethod
    def _required(part):  # type: ignore[no-untyped-def]
        if part is None:
            raise RuntimeError("Distill.prepare comes before the first step.")
        return part


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    size: tuple[int, int]
    sha256: str


def _student(net: nn.Module) -> nn.Module:
    return net.student if isinstance(net, Adapted) and isinstance(net.student, nn.Module) else net


def _several_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _first_process() -> bool:
    return not _several_processes() or torch.distributed.get_rank() == 0
