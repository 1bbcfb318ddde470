"""What a run tells whoever watches it."""

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
    """Step `step` of `steps` is made (both of the whole run); `loss` is that step's."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """Epoch `epoch` of `epochs` is made; `miou` (a fraction) is None where it was not evaluated."""

    epoch: int
    epochs: int
    loss: float
    miou: float | None
    best_miou: float | None
    seconds: float


Event = Loading | StepDone | EpochDone
OnEvent = Callable[[Event], None]
