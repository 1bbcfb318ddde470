"""Distillation as a training method: `train(recipe, out=..., method=Distill(settings))`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.compress.distill import losses as terms
from edgeseg.compress.distill.teacher import check_teachers, open_teacher, teacher_identity
from edgeseg.compress.distill.teacher_cache import TeacherCache, default_root
from edgeseg.compress.distill.teacher_outputs import (
    LiveOutputs,
    StoredOutputs,
    TeacherOutput,
    TeacherOutputs,
    store_outputs,
)
from edgeseg.core.records import encode_record
from edgeseg.graph.forward_hooks import Adapted, channels
from edgeseg.train.method import Method, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.compress.distill.recipe import DistillRecipe
    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.events import OnEvent
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.samples import TrainingSet


class Distill(Method):
    """Adds distillation terms to the loss. `student` is the method that builds and saves the student."""

    def __init__(self, recipe: DistillRecipe, *, student: Method | None = None) -> None:
        self.recipe, self.student = recipe, student or Method()
        self._fade = 0.0
        self._net: nn.Module | None = None
        self._outputs: TeacherOutputs | None = None

    def fingerprint(self) -> str:
        """Return the settings and the teachers' SHA-256.

        Raises:
            InputError, UnknownName: a teacher does not exist.
        """
        return json.dumps({**self._account(), "student": self.student.fingerprint()}, sort_keys=True)

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the student's net, with adapters around it where features are compared.

        Raises:
            InputError: a teacher has other classes, or there is no such checkpoint or module.
            RecipeError: stored outputs with pasted pixels.
        """
        check_teachers(self.recipe, classes=spec.classes, paste=recipe.sampling.paste)
        net, start = self.student.start(recipe, spec)
        return (self._adapted(net, spec=spec) if self.recipe.features else net), start

    def prepare(self, net: nn.Module, *, spec: ModelSpec, training: TrainingSet, on_event: OnEvent | None) -> None:
        """Open the teacher; unless it is live, compute its missing outputs for all training images."""
        self.student.prepare(_student(net), spec=spec, training=training, on_event=on_event)
        self._net, device = net, next(net.parameters()).device
        if self.recipe.live:
            self._outputs = LiveOutputs(
                teacher=open_teacher(self.recipe).to(device),
                spec=spec,
                training=training,
                modules=[pair.teacher for pair in self.recipe.features],
            )
            return
        if not _leads():
            torch.distributed.barrier()
        self._outputs = self._stored(training, device=device, on_event=on_event if _leads() else None)
        if _leads() and _is_one_of_many():
            torch.distributed.barrier()

    def before_step(self, net: nn.Module, *, step: int, steps: int) -> None:
        """Set the weight of the distillation terms."""
        self.student.before_step(_student(net), step=step, steps=steps)
        self._fade = self.recipe.fade(step=step, steps=steps)

    def loss(self, plain: Tensor, *, seen: Seen) -> Tensor:
        """Return the weighted sum of the loss on labels and the distillation terms.

        Raises:
            ArtifactError: a stored output was damaged during the run.
        """
        total = self.recipe.labels * self.student.loss(plain, seen=seen)
        adapted = self._net.take() if isinstance(self._net, Adapted) else []
        if not self._fade:
            # The adapters still take part, with a gradient of 0: distributed training waits for all gradients.
            return total + sum((item.sum() * 0.0 for item in adapted), total.new_zeros(()))
        assert self._outputs is not None, "call prepare before the first step"
        logits = seen.outputs[0].float()
        cells = (logits.shape[2], logits.shape[3])
        output = self._outputs.output(seen, cells=cells)
        term = self._on_logits(logits, output.logits, mask=self._outputs.mask(seen, cells=cells))
        return total + self._fade * (term + self._on_features(adapted, output, seen=seen))

    def save(self, folder: Path, *, net: nn.Module, spec: ModelSpec, training: Mapping[str, object]) -> None:
        """Write the student's checkpoint; its training record names the settings and the teachers."""
        self.student.save(folder, net=_student(net), spec=spec, training={**training, **self._account()})

    def _account(self) -> dict[str, object]:
        """Return what the run depends on, without the places of stored outputs and teachers."""
        settings = encode_record(self.recipe)
        assert isinstance(settings, dict)
        kept = {key: value for key, value in settings.items() if key not in ("teachers", "cache")}
        return {"distill": kept, "teachers": teacher_identity(self.recipe)["teachers"]}

    def _on_logits(self, student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
        """Return the weighted sum of the terms on logits (N, C, h, w)."""
        own, total = self.recipe, student.new_zeros(())
        if own.logits:
            total = total + own.logits * terms.logits_kd(student, teacher, mask=mask, temperature=own.temperature)
        if own.channels:
            term = terms.channel_wise(student, teacher, mask=mask, temperature=own.channel_temperature)
            total = total + own.channels * term
        if own.pairs:
            total = total + own.pairs * terms.pairwise(student, teacher, mask=mask, pool=own.pool)
        if own.pixels:
            heat = own.pixel_temperature
            term = terms.batch_pixels(student, teacher, mask=mask, pool=own.pool, temperature=heat)
            total = total + own.pixels * term
        return total

    def _on_features(self, adapted: list[Tensor], output: TeacherOutput, *, seen: Seen) -> Tensor:
        """Return the weighted sum of the feature terms, each on the student's grid."""
        assert self._outputs is not None
        total = output.logits.new_zeros(())
        for pair, own in zip(self.recipe.features, adapted, strict=True):
            cells = (own.shape[2], own.shape[3])
            wanted = F.interpolate(output.modules[pair.teacher].float(), size=cells, mode="bilinear")
            term = terms.features(own.float(), wanted, mask=self._outputs.mask(seen, cells=cells))
            total = total + pair.weight * term
        return total

    def _stored(self, training: TrainingSet, *, device: torch.device, on_event: OnEvent | None) -> StoredOutputs:
        root = Path(self.recipe.cache).expanduser() if self.recipe.cache else default_root()
        return store_outputs(
            training,
            cache=TeacherCache(root=root, identity=teacher_identity(self.recipe)),
            open_teacher=lambda: open_teacher(self.recipe),
            device=device,
            on_event=on_event,
        )

    def _adapted(self, net: nn.Module, *, spec: ModelSpec) -> Adapted:
        view = open_teacher(self.recipe).views[0]
        names = [pair.student for pair in self.recipe.features]
        theirs = [pair.teacher for pair in self.recipe.features]
        return Adapted(
            net,
            names=names,
            inputs=channels(net, names, size=spec.size),
            outputs=channels(view.net, theirs, size=view.spec.size),
        )


def _student(net: nn.Module) -> nn.Module:
    return net.student if isinstance(net, Adapted) else net


def _is_one_of_many() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _leads() -> bool:
    """Return whether this process computes the outputs that the others then read."""
    return not _is_one_of_many() or torch.distributed.get_rank() == 0
