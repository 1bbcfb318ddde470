"""What a run reports to whoever watches it."""

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
    """Step `step` of `steps` is done (both of the whole run); `loss` is that step's."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """Epoch `epoch` of `epochs` is done; `miou` (a fraction) is None where it was not evaluated."""

    epoch: int
    epochs: int
    loss: float
    miou: float | None
    best_miou: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something about the data that the user should know before hours are spent on it."""

    text: str


Event = Loading | StepDone | EpochDone | Notice
OnEvent = Callable[[Event], None]
