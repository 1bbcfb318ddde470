"""The training loss: weighted terms on the logits and on each auxiliary head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgeseg.train.losses import border_map, boundary, cross_entropy, dice, focal, lovasz, tversky
from edgeseg.train.recipe import LossRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The recipe's loss; `weights` are the class weights (C,), or None."""

    recipe: LossRecipe
    ignore_index: int
    weights: Tensor | None = None

    def __call__(self, outputs: Sequence[Tensor], labels: Tensor, *, offset: tuple[int, int] = (0, 0)) -> Tensor:
        """Return the scalar loss of (logits, *aux logits), each (N, C, h, w), against labels (N, H, W).

        Logits are resized bilinearly to every `stride`-th row and column from `offset`. Auxiliary heads use the
        cross-entropy only; one with a single channel, beside logits of more, is a boundary head.
        """
        step = self.recipe.stride
        down, right = offset[0] % step, offset[1] % step
        wanted = labels[:, down::step, right::step].long()
        size = (labels.shape[1], labels.shape[2])
        fine = [at_pixels(item.float(), size=size, offset=(down, right), stride=step) for item in outputs]
        total = self._main(fine[0], wanted)
        for item in fine[1:]:
            if item.shape[1] == 1 < fine[0].shape[1]:
                borders = border_map(labels.long(), ignore_index=self.ignore_index, width=self.recipe.boundary_width)
                total = total + self.recipe.boundary * boundary(item, borders[:, down::step, right::step])
            else:
                total = total + self.recipe.aux * self._cross_entropy(item, wanted)
        return total

    def _main(self, logits: Tensor, labels: Tensor) -> Tensor:
        recipe, ignore, thin = self.recipe, self.ignore_index, self.recipe.lovasz_stride
        total = logits.new_zeros(())
        if recipe.cross_entropy:
            total = total + recipe.cross_entropy * self._cross_entropy(logits, labels)
        if recipe.focal:
            term = focal(logits, labels, ignore_index=ignore, gamma=recipe.focal_gamma, weights=self.weights)
            total = total + recipe.focal * term
        if recipe.dice:
            total = total + recipe.dice * dice(logits, labels, ignore_index=ignore)
        if recipe.tversky:
            total = total + recipe.tversky * tversky(logits, labels, ignore_index=ignore, alpha=recipe.tversky_alpha)
        if recipe.lovasz:
            term = lovasz(logits[:, :, ::thin, ::thin], labels[:, ::thin, ::thin], ignore_index=ignore)
            total = total + recipe.lovasz * term
        return total

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(
            logits,
            labels,
            ignore_index=self.ignore_index,
            weights=self.weights,
            smoothing=self.recipe.label_smoothing,
            ohem_share=self.recipe.ohem_share,
            ohem_threshold=self.recipe.ohem_threshold,
        )


def at_pixels(logits: Tensor, *, size: tuple[int, int], offset: tuple[int, int], stride: int) -> Tensor:
    """Return logits (N, C, h, w) bilinearly at rows offset[0]::stride and columns offset[1]::stride of `size`.

    The pixels are those of `interpolate(..., align_corners=False)` to `size`; two small matrix products are several
    times faster on a CPU than resizing to all of them.
    """
    rows = _weights(logits.shape[2], size[0], offset[0], stride).to(logits)
    columns = _weights(logits.shape[3], size[1], offset[1], stride).to(logits)
    return rows @ (logits.contiguous() @ columns.T)


def _weights(cells: int, pixels: int, start: int, stride: int) -> Tensor:
    """Return the bilinear weights, (selected pixels, cells) float32."""
    position = np.clip((np.arange(start, pixels, stride) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, cells - 1)
    matrix = np.zeros((len(position), cells), np.float32)
    every = np.arange(len(position))
    np.add.at(matrix, (every, low), 1 - (position - low))
    np.add.at(matrix, (every, high), position - low)
    return torch.from_numpy(matrix)
