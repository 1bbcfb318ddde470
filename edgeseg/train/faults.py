"""Errors that end a run early, each with the step and advice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeseg.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.train.recipe import Recipe
    from edgeseg.train.state import Position

NO_MEMORY = ("can't allocate memory", "not enough memory", "Insufficient memory", "CUDA out of memory")
NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large", "Read-only file system")


def not_finite(value: float, *, progress: Position) -> TrainingError:
    """Return (not raise) the error for a loss of NaN or infinity."""
    return TrainingError(
        f"Step {progress.step + 1} (epoch {progress.epoch + 1}): the loss is {value}. The last saved state is kept. "
        "Try a lower optimizer.rate, a longer schedule.warmup_epochs, optimizer.clip = 1.0 or run.precision = "
        '"fp32".'
    )


def out_of_memory_error(recipe: Recipe, *, progress: Position | None) -> TrainingError:
    """Return (not raise) the out-of-memory error; without `progress`, it happened before the first step."""
    size, batch = "x".join(map(str, recipe.model.size)), recipe.run.batch
    if progress is None:
        cached = " data.cache = false keeps the images on disk;" if recipe.data.cache else ""
        return TrainingError(
            f"Out of memory before the first step:{cached} try a smaller model.size, run.batch or run.workers."
        )
    # Batch norm needs two values per channel, so a batch of 2 is not halved.
    halve = "Halve run.batch and double run.accumulate, lower" if batch > 3 else "Lower"
    return TrainingError(
        f"Step {progress.step + 1}: out of memory with run.batch = {batch} at {size}. {halve} model.size, raise "
        "loss.stride, or set data.cache = false."
    )


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means out of memory, on CPU or GPU, in PyTorch, OpenCV or Python."""
    import torch

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in NO_MEMORY)


def one_value_a_channel(recipe: Recipe, *, share: int) -> TrainingError:
    """Return (not raise) the error for a batch norm that gets a single value, for example after pooling to 1x1."""
    return TrainingError(
        f"Batch norm cannot train on one value per channel: {recipe.model.name} pools to 1x1 and each process gets "
        f"{share} image a step. Give run.batch of 2 or more a process, or run.freeze_norm = true (run.accumulate does "
        "not help)."
    )


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn all errors of a full or read-only disk into one error that names the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # PyTorch's and safetensors' writers raise their own kinds
        reason = next((text for text in NO_ROOM if text in str(error)), "")
        if not reason:
            raise
    else:
        return
    raise TrainingError(
        f"{folder}: cannot be written: {reason}. Earlier saved states are intact: free disk space, then continue with "
        "--resume."
    )
