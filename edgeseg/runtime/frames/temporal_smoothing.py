"""Steadier labels: temporal smoothing of the low-resolution logits, before they are decoded at the image's size.

Both methods use past frames only: they add no latency, but changes in the scene show later, by
`lag_frames`. Neither follows motion: on a moving camera strong smoothing leaves trails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN = 2.0
"""A lead in logits by which a new class is taken over at once: e^2, seven times as probable as the one held."""


class Smoother(Protocol):
    """Takes the logits (h * w, C) of each frame and gives those to decode, of the same shape."""

    lag_frames: float

    def smooth(self, cells: np.ndarray, *, scale: float) -> np.ndarray:
        """Return the logits to decode, (h * w, C), in the units of `cells`; `scale` is logits per unit."""

    def forget(self) -> None:
        """Begin again: the next frame is the first."""


class Exponential:
    """state = keep * state + (1 - keep) * logits. The mean age of what is shown is keep / (1 - keep) frames."""

    def __init__(self, keep: float) -> None:
        if not 0 <= keep < 1:
            raise InputError(
                f"exp:{keep:g}: the share of the past that is kept is at least 0 and below 1, such as 0.6."
            )
        self.lag_frames = keep / (1 - keep)
        self._keep = np.float32(keep)
        self._state: np.ndarray | None = None

    def smooth(self, cells: np.ndarray, *, scale: float) -> np.ndarray:
        """Return the running mean, float32, in the units of `cells`; `scale` (logits per unit) does not matter."""
        fresh = cells.astype(np.float32)
        if self._state is None or self._state.shape != fresh.shape:
            self._state = fresh
            return fresh
        fresh *= 1 - self._keep
        fresh += self._keep * self._state
        self._state = fresh
        return fresh

    def forget(self) -> None:
        """Begin again: the next frame is the first."""
        self._state = None


class Vote:
    """A cell keeps its class until another one leads by `margin` logits, or wins `frames` times in a row.

    Where the class is kept, it changes places with the winner, so that the borders between cells stay where the
    logits put them.
    """

    def __init__(self, frames: int, *, margin: float = MARGIN) -> None:
        if frames < 1 or not margin > 0:
            raise InputError(f"vote:{frames}:{margin:g}: frames is 1 or more and the margin above 0, such as vote:3.")
        self.lag_frames = float(frames - 1)
        self._frames = frames
        self._margin = margin
        self._held = np.empty(0, np.intp)
        self._challenger = np.empty(0, np.intp)
        self._streak = np.empty(0, np.int32)

    def smooth(self, cells: np.ndarray, *, scale: float) -> np.ndarray:
        """Return the logits with every cell's winner the class that holds it; `scale` is logits per unit of `cells`."""
        winner = cells.argmax(axis=1)
        if self._held.shape != winner.shape:
            self._held, self._challenger = winner.copy(), winner.copy()
            self._streak = np.ones(winner.shape, np.int32)
            return cells
        self._streak = np.where(winner == self._challenger, self._streak + 1, 1)
        self._challenger = winner
        other = np.nonzero(winner != self._held)[0]
        best = cells[other, winner[other]]
        held = cells[other, self._held[other]]
        lead = (best.astype(np.float32) - held) * scale
        takes = (lead > self._margin) | (self._streak[other] >= self._frames)
        self._held[other[takes]] = winner[other[takes]]
        keeps = other[~takes]
        if not keeps.size:
            return cells
        steady = cells.copy()
        steady[keeps, winner[keeps]], steady[keeps, self._held[keeps]] = held[~takes], best[~takes]
        return steady

    def forget(self) -> None:
        """Begin again: the next frame is the first."""
        self._held = np.empty(0, np.intp)


def smoother_of(text: str | None) -> Smoother | None:
    """Return the smoother that a text names: `exp:SHARE`, `vote:FRAMES` or `vote:FRAMES:MARGIN`; None for none.

    Raises:
        UnknownName: another method.
        InputError: something that is not a number, or one out of range.
    """
    if text is None or text == "none":
        return None
    method, *numbers = text.split(":")
    if method not in _METHODS:
        raise unknown("smoothing", method, ("none", *_METHODS))
    make, counts = _METHODS[method]
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) not in counts or not all(math.isfinite(value) for value in values):
        raise InputError(f'Smoothing "{text}" is not a known form. Write exp:0.6, vote:3 or vote:3:2.0.')
    return make(values)


def _vote(values: list[float]) -> Smoother:
    if values[0] != int(values[0]):
        raise InputError(f"vote:{values[0]:g}: frames is a whole number, such as vote:3.")
    return Vote(int(values[0]), margin=values[1] if len(values) > 1 else MARGIN)


def _exponential(values: list[float]) -> Smoother:
    return Exponential(values[0])


_METHODS: dict[str, tuple[Callable[[list[float]], Smoother], tuple[int, ...]]] = {
    "exp": (_exponential, (1,)),
    "vote": (_vote, (1, 2)),
}
