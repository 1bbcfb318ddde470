"""A run's state on disk: enough to go on bit for bit, written whole or not at all."""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgeseg.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

STATE_FILE = "state.pt"
VERSION = 1


@dataclass(slots=True, kw_only=True)
class Position:
    """Where a run stands. Chance is a function of seed and position, so there are no generator states to keep."""

    epoch: int = 0
    """The epoch under way, from 0."""
    batch: int = 0
    """Batches of that epoch that are done."""
    step: int = 0
    """Optimizer steps done."""
    loss_sum: float = 0.0
    """Sum of the losses of that epoch's batches."""
    best_miou: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0
    """Wall time of all sittings together."""


@dataclass(slots=True, kw_only=True)
class RunState:
    """Everything that changes during a run, as tensors and plain values."""

    progress: Position
    net: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, object]
    scaler: dict[str, object]
    fingerprint: str
    """The SHA-256 of the recipe, so that a run is not resumed with another one."""


def save_state(state: RunState, folder: Path) -> None:
    """Write `state.pt`; a kill at any moment leaves the old one or the new one."""
    data = {field.name: getattr(state, field.name) for field in fields(state)}
    data.update(version=VERSION, progress=asdict(state.progress))
    partial = folder / (STATE_FILE + ".partial")
    with partial.open("wb") as stream:
        torch.save(data, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / STATE_FILE)


def load_state(folder: Path, *, fingerprint: str) -> RunState:
    """Return the state in a run's folder. Read with weights_only=True: no code in the file runs.

    Raises:
        TrainingError: no state there, a file that is none, or one of another recipe or version.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{folder}: no {STATE_FILE} there to resume from. Start without --resume.")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        version = data.pop("version")
        state = RunState(**{**data, "progress": Position(**data["progress"])})
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, KeyError, AttributeError) as error:
        raise TrainingError(f"{path}: cannot be read as a run's state ({type(error).__name__}). Start anew.") from error
    if version != VERSION:
        raise TrainingError(f"{path}: state version {version}; this version of edgeseg reads {VERSION}. Start anew.")
    if state.fingerprint != fingerprint:
        raise TrainingError(f"{path}: belongs to another recipe. Resume with the recipe in {folder}, or change --out.")
    return state
