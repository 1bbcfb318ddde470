"""Inferences that overlap: order, and a session that is changed while some are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.runtime.loop.async_inference import InferenceLine

if TYPE_CHECKING:
    from collections.abc import Callable


class Doubling:
    """Works at several tensors at once, and refuses one more."""

    def __init__(self, requests: int) -> None:
        self.requests, self.busy = requests, 0

    def start(self, tensor: np.ndarray) -> Callable[[], np.ndarray]:
        assert self.busy < self.requests
        self.busy += 1

        def finish() -> np.ndarray:
            self.busy -= 1
            return tensor * 2

        return finish


def test_a_session_that_works_at_fewer_is_never_asked_for_more() -> None:
    line: InferenceLine[int] = InferenceLine(overlap=True)
    sessions = [Doubling(4)] * 4 + [Doubling(2)] * 6
    done = [
        pair
        for item, session in enumerate(sessions)
        for pair in line.put(item, session=session, tensor=np.full(1, item))  # type: ignore[arg-type]
    ]
    done += line.rest()
    assert [(item, int(output[0])) for item, output in done] == [(item, 2 * item) for item in range(len(sessions))]
