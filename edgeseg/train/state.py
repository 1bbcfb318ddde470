"""A run's state on disk, written atomically: enough to continue bit for bit."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from edgeseg.core.files import replacing
from edgeseg.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

STATE_FILE = "state.pt"
_VERSION = 2
MARK = b"\nedgeseg sha256 "


@dataclass(slots=True, kw_only=True)
class Position:
    """The position of a run. Random numbers are a function of seed and position, so no generator state is saved."""

    epoch: int = 0
    """The current epoch, from 0."""
    batch: int = 0
    """Completed batches of that epoch."""
    step: int = 0
    """Completed optimizer steps."""
    loss_sum: float = 0.0
    """Sum of the losses of that epoch's batches."""
    best_miou: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0
    """Wall time over all sessions."""


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
    data: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the data sets by role, so that a run is not resumed on other data; empty in version 1."""


class _Hashing:
    """A writable file that hashes its content; `fault` is the error of a write that failed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.fault: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write and hash some bytes."""
        self.digest.update(content)
        try:
            return self._stream.write(content)
        except OSError as error:
            self.fault = error
            raise

    def flush(self) -> None:
        """Flush the underlying file."""
        self._stream.flush()


def save_state(state: RunState, folder: Path) -> None:
    """Write `state.pt`, followed by the hash of its bytes; a kill at any moment leaves the old or the new state.

    Raises OSError if it cannot be written; the old state is then kept.
    """
    data = {item.name: getattr(state, item.name) for item in fields(state)}
    data.update(version=_VERSION, progress=asdict(state.progress))
    with replacing(folder / STATE_FILE, durable=True) as stream:
        hashing = _Hashing(stream)
        try:
            torch.save(data, hashing)  # type: ignore[arg-type]
        except RuntimeError:  # after a failed write, PyTorch complains about positions and hides the system's error
            if hashing.fault is None:
                raise
            raise hashing.fault from None
        stream.write(MARK + hashing.digest.hexdigest().encode())


def load_state(folder: Path, *, fingerprint: str) -> RunState:
    """Return the state in a run's folder; read with weights_only=True, so no code in the file is executed.

    Raises:
        TrainingError: no state, a damaged or invalid file, or a state of another recipe or version.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{folder}: has no {STATE_FILE} to resume from. Start without --resume.")
    content = path.read_bytes()
    end = len(content) - len(MARK) - 64
    sealed = content[max(end, 0) : end + len(MARK)] == MARK
    if sealed and hashlib.sha256(memoryview(content)[:end]).hexdigest().encode() != content[end + len(MARK) :]:
        raise TrainingError(f"{path}: damaged: its checksum does not match its content. Start anew.")
    try:
        data = torch.load(io.BytesIO(content[:end] if sealed else content), map_location="cpu", weights_only=True)
        version = data.pop("version")
        state = RunState(**{**data, "progress": Position(**data["progress"])})
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read as a run's state ({type(error).__name__}). Start anew.") from error
    if version not in (1, _VERSION):
        raise TrainingError(f"{path}: state version {version}; this version of edgeseg reads {_VERSION}. Start anew.")
    if version == _VERSION and not sealed:
        raise TrainingError(f"{path}: damaged: its checksum is missing. Start anew.")
    if state.fingerprint != fingerprint:
        raise TrainingError(f"{path}: belongs to another recipe. Resume with the recipe in {folder}, or change --out.")
    return state
