"""Overlapping inferences, where the engine can run several; outputs come in the order of the inputs."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from edgeseg.errors import EdgesegError

if TYPE_CHECKING:
    from edgeseg.runtime.session.session import Session

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _UnderWay(Generic[_T]):
    item: _T
    finish: Callable[[], np.ndarray]


class InferenceLine(Generic[_T]):
    """As many inferences at once as a session's `requests`, or one at a time without `overlap`. Not thread-safe."""

    def __init__(self, *, overlap: bool) -> None:
        self._overlap = overlap
        self._under_way: deque[_UnderWay[_T]] = deque()

    def put(self, item: _T, *, session: Session, tensor: np.ndarray) -> list[tuple[_T, np.ndarray]]:
        """Start on an item's tensor; return finished items with their outputs, none while there is room."""
        if not self._overlap or session.requests == 1:
            return [*self.rest(), (item, session.infer(tensor))]
        self._under_way.append(_UnderWay(item, session.start(tensor)))
        # More than one after a change to a session with fewer requests.
        return [self._oldest() for _ in range(len(self._under_way) - session.requests + 1)]

    def drop(self) -> None:
        """Wait for running inferences and drop them: until they end, they read their tensors."""
        while self._under_way:
            with contextlib.suppress(EdgesegError):
                self._oldest()

    def rest(self) -> Iterator[tuple[_T, np.ndarray]]:
        """Yield the items that are still running, with their outputs."""
        while self._under_way:
            yield self._oldest()

    def _oldest(self) -> tuple[_T, np.ndarray]:
        oldest = self._under_way.popleft()
        return oldest.item, oldest.finish()
