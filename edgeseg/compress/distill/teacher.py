"""A teacher: the mean of one or more trained nets, each run on one or more views of an image."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.compress.distill.crop_resampling import bilinear, resampled
from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.records import encode_record
from edgeseg.core.spec import ModelSpec, Preprocess
from edgeseg.errors import InputError, RecipeError
from edgeseg.models import load_checkpoint, resolve_model
from edgeseg.models.build import size_multiple
from edgeseg.models.checkpoint import read_spec
from edgeseg.pixels.geometry import place
from edgeseg.train.evaluate import input_of, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.compress.distill.recipe import DistillRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherView:
    """A net in evaluation mode, built for the input size in its spec."""

    net: nn.Module
    spec: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The mean of all views; with `flip`, each view is also run on the flipped image.

    `grid` (rows, columns) is the output grid over a whole image.
    """

    views: tuple[TeacherView, ...]
    flip: bool
    mean: str
    grid: tuple[int, int]

    def to(self, device: torch.device) -> Teacher:
        """Return itself after moving all nets."""
        for view in self.views:
            view.net.to(device)
        return self

    @torch.no_grad()
    def output(self, image: np.ndarray, *, device: torch.device | None = None) -> Tensor:
        """Return logits, or the logarithm of mean probabilities, (C, *grid) float32, for an image (H, W, 3) BGR uint8.

        Each net uses its own preprocessing; letterboxing is undone.
        """
        maps = []
        for view in self.views:
            for flipped in (False, True) if self.flip else (False,):
                seen = np.ascontiguousarray(image[:, ::-1]) if flipped else image
                raw = self._forward(view, input_of(seen, spec=view.spec, device=device))
                rows, columns = _places(image.shape[:2], view.spec, grid=self.grid, cells=raw.shape[2:])
                maps.append(
                    resampled(raw, rows=rows[None], columns=(columns[::-1].copy() if flipped else columns)[None])
                )
        return _mean(maps, self.mean)[0]

    @torch.no_grad()
    def live_output(self, images: Tensor, *, spec: ModelSpec, cells: tuple[int, int]) -> Tensor:
        """Return the same for a batch of the student's inputs (N, 3, H, W), normalised by the student's `spec`.

        The result is (N, C, *cells): the teachers get the student's crops, resized to their input size.
        """
        maps = []
        for view in self.views:
            x = _translated(images, own=spec.preprocess, wanted=view.spec, size=view.spec.size)
            for flipped in (False, True) if self.flip else (False,):
                raw = self._forward(view, x.flip(3) if flipped else x)
                raw = raw.flip(3) if flipped else raw
                maps.append(F.interpolate(raw, size=cells, mode="bilinear", align_corners=False))
        return _mean(maps, self.mean)

    def _forward(self, view: TeacherView, x: Tensor) -> Tensor:
        logits: Tensor = view.net(x.contiguous(memory_format=torch.channels_last)).float()
        return logits.contiguous()


def teacher_identity(recipe: DistillRecipe) -> dict[str, object]:
    """Return what a teacher's outputs depend on besides the image: hashes of weights and spec, views, mean and grid.

    Raises:
        InputError, UnknownName: no such checkpoint.
    """
    specs = [read_spec(resolve_model(name)) for name in recipe.teachers]
    return {
        "teachers": [
            {"name": spec.name, "sha256": spec.weights_sha256, "size": list(spec.size), "spec": _spec_sha256(spec)}
            for spec in specs
        ],
        "mean": recipe.mean,
        "flip": recipe.flip,
        "scales": list(recipe.scales),
        "stride": recipe.stride,
    }


def _spec_sha256(spec: ModelSpec) -> str:
    """Return the hash of what a spec says of the net and its input: another preprocessing gives other outputs."""
    table = encode_record(spec)
    assert isinstance(table, dict)
    said = {key: value for key, value in table.items() if key not in ("name", "palette", "licence", "notice")}
    return sha256_of_bytes(json.dumps(said, sort_keys=True).encode())


def check_teachers(recipe: DistillRecipe, *, classes: Sequence[str], paste: float = 0.0) -> None:
    """Check the teachers against the student's classes and `[sampling] paste`.

    Raises:
        InputError: a teacher has other classes, or the same in another order.
        RecipeError: the recipe pastes pixels of other images, which stored outputs do not show.
    """
    if paste and not recipe.live:
        raise RecipeError(
            f"[sampling] paste = {paste:g}, but the teacher's outputs are stored for whole images, without pasted "
            "pixels. Set paste = 0, or live = true for this teacher."
        )
    for name in recipe.teachers:
        found = read_spec(resolve_model(name)).classes
        if found != tuple(classes):
            raise InputError(
                f'Teacher "{name}" has the classes {", ".join(found)}; the student has {", ".join(classes)}. '
                "Choose a teacher that was trained on the student's classes, in the same order."
            )


def open_teacher(recipe: DistillRecipe) -> Teacher:
    """Return the recipe's teacher with its weights loaded, on the CPU.

    Raises:
        InputError, CheckpointError, UnknownName: a checkpoint cannot be used.
    """
    views = []
    for name in recipe.teachers:
        path = resolve_model(name)
        spec = read_spec(path)
        for scale in recipe.scales:
            loaded = load_checkpoint(path, size=_scaled(spec, scale=scale))
            net = loaded.net.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            views.append(TeacherView(net=net, spec=loaded.spec))
    first = read_spec(resolve_model(recipe.teachers[0])).size
    grid = max(1, round(first[0] / recipe.stride)), max(1, round(first[1] / recipe.stride))
    return Teacher(views=tuple(views), flip=recipe.flip, mean=recipe.mean, grid=grid)


def _scaled(spec: ModelSpec, *, scale: float) -> tuple[int, int]:
    """Return the valid input size of the architecture that is nearest to its own input size times `scale`."""
    if scale == 1:
        return spec.size
    step = size_multiple(spec)
    height, width = (max(1, round(side * scale / step)) * step for side in spec.size)
    return height, width


def _places(
    image: tuple[int, ...], spec: ModelSpec, *, grid: tuple[int, int], cells: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of a net's `cells` along rows and columns at the centres of `grid` over the image."""
    where = place((image[0], image[1]), input_size=spec.size, preprocess=spec.preprocess)
    y = (where.top + (np.arange(grid[0]) + 0.5) / grid[0] * where.height) / spec.size[0]
    x = (where.left + (np.arange(grid[1]) + 0.5) / grid[1] * where.width) / spec.size[1]
    return bilinear(y, cells=cells[0]), bilinear(x, cells=cells[1])


def _translated(x: Tensor, *, own: Preprocess, wanted: ModelSpec, size: tuple[int, int]) -> Tensor:
    """Return images normalised for one net, converted to the normalisation and size of another net."""
    rule = wanted.preprocess
    if tuple(x.shape[2:]) != size:
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    if dataclasses.replace(own, resize=rule.resize, interpolation=rule.interpolation, in_graph=rule.in_graph) == rule:
        return x
    mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (own.mean, own.std))
    pixels = (x * std + mean) / own.scale
    return normalise(pixels.flip(1) if own.color_order != rule.color_order else pixels, spec=wanted)


def _mean(maps: list[Tensor], mean: str) -> Tensor:
    if mean == "logits":
        return torch.stack(maps).mean(0)
    return torch.stack([item.log_softmax(1) for item in maps]).logsumexp(0) - float(np.log(len(maps)))
