"""The progress events of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """`done` of `total` images of a data set are in memory."""

    data: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """Step `step` of `steps` of the whole run is done; `loss` is the loss of that step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """Epoch `epoch` of `epochs` is done; `miou` (a fraction) is None if it was not evaluated."""

    epoch: int
    epochs: int
    loss: float
    miou: float | None
    best_miou: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning about the data, before hours of training are spent on it."""

    text: str


Event = Loading | StepDone | EpochDone | Notice
OnEvent = Callable[[Event], None]
