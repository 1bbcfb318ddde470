"""The ways a run ends early, each with the step and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.errors import TrainingError

if TYPE_CHECKING:
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.state import Position


def not_finite(value: float, *, progress: Position) -> TrainingError:
    """Return (not raise) the error for a loss that is no number."""
    return TrainingError(
        f"Step {progress.step + 1} (epoch {progress.epoch + 1}): the loss is {value}. The last saved state is kept. "
        "Try a lower optimizer.rate, a longer schedule.warmup_epochs, optimizer.clip = 1.0 or run.precision = "
        '"fp32".'
    )


def out_of_memory(recipe: Recipe, *, progress: Position) -> TrainingError:
    """Return (not raise) the error for memory that is short."""
    size = "x".join(map(str, recipe.model.size))
    return TrainingError(
        f"Step {progress.step + 1}: out of memory with run.batch = {recipe.run.batch} at {size}. Halve run.batch and "
        "double run.accumulate, lower model.size, raise loss.stride, or set data.cache = false."
    )
