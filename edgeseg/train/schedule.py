"""The learning rate, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.train.recipe import ScheduleRecipe


def rate_factor(step: int, *, steps: int, steps_per_epoch: int, recipe: ScheduleRecipe) -> float:
    """Return the factor on the base learning rate at `step` (from 0) of `steps`.

    It rises linearly to 1 over the warm-up, then falls as (1 - progress) ** power ("poly", Chen et al., DeepLab, TPAMI
    2018, section 4). It is a pure function of the step, so a resumed run has no schedule state to restore.
    """
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return float((1 - (step - warmup) / max(1, steps - warmup)) ** recipe.power)
