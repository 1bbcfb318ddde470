"""The learning rate, step by step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.train.recipe import ScheduleRecipe


ONE_CYCLE_START = 1 / 25


def rate_factor(step: int, *, steps: int, steps_per_epoch: int, recipe: ScheduleRecipe) -> float:
    """Return the factor on the base learning rate at `step` (from 0) of `steps`.

    It rises to 1 over the warm-up, then falls as (1 - progress) ** power ("poly", Chen et al., DeepLab, TPAMI 2018,
    section 4) or as half a cosine (Loshchilov, Hutter, SGDR, ICLR 2017, equation 5). The warm-up is linear from 0;
    that of "one-cycle" is half a cosine from 1/25 (Smith, Topin, Super-Convergence, 2018; PyTorch's OneCycleLR, with
    `warmup_epochs` as its rising part). A pure function of the step: a resumed run has no schedule state to restore.
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        if recipe.shape == "one-cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - _half_cosine(step / warmup))
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return float((1 - progress) ** recipe.power) if recipe.shape == "poly" else _half_cosine(progress)


def _half_cosine(progress: float) -> float:
    """Return 1 at progress 0 and 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
