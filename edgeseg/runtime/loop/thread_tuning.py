"""The number of engine threads at which the whole loop is fastest, found by a short trial."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.cpu_cores import usable_cores
from edgeseg.core.protocols import Camera, CameraCounts, Frame
from edgeseg.runtime.loop.loop import run
from edgeseg.runtime.session.engine_choice import DEFAULT_MAX_THREADS
from edgeseg.runtime.session.opening import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from edgeseg.runtime.session.session import Session
    from edgeseg.runtime.sinks.base import Sink

TRIAL_S = 1.0
LEAST_FRAMES = 4
ENOUGH = 0.97
"""Fewer threads win if they reach this share of the best rate: they leave cores for other work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The threads chosen, and the loop's rate at each number tried; empty if there was no choice."""

    threads: int
    fps: dict[int, float]

    def words(self) -> str:
        """Return what was chosen and why, in one line."""
        tried = ", ".join(f"{threads}: {fps:.1f} FPS" for threads, fps in self.fps.items())
        return f"Engine threads: {self.threads} (tried in the loop, {tried}). --threads N sets them."


def tune_threads(
    artifact: Path | str,
    *,
    engine: str | None = None,
    source: Callable[[], Camera] | None = None,
    overlay: bool = True,
    sinks: Callable[[], AbstractContextManager[Sequence[Sink]]] | None = None,
    trial_s: float = TRIAL_S,
) -> Tuning:
    """Return the engine threads at which the whole loop is fastest, after trials of `trial_s` seconds in all.

    `source` makes a camera like the real one, for files and other sources that can be opened twice; without it, as for
    live sources, the artifact's golden image is repeated. `sinks` yields sinks like the real ones, for one trial.
    Raises what `load` and `run` raise, and `KeyboardInterrupt` if a signal ends a trial.
    """
    counts = tuple(range(1, min(usable_cores(), DEFAULT_MAX_THREADS) + 1))
    if len(counts) == 1:
        return Tuning(threads=1, fps={})
    found: dict[int, float] = {}
    for threads in counts:
        with load(artifact, engine=engine, threads=threads) as session:
            image = _golden(session)
            session.segment(image)
            camera = source() if source else _Images((image,))
            with camera, sinks() if sinks else nullcontext(()) as fed:
                limited = _Limited(camera, seconds=trial_s / len(counts))
                trial = run(session, limited, sinks=fed, overlay=overlay, overlap=source is not None)
        if trial.interrupted:  # by a signal that ended the trial's loop
            raise KeyboardInterrupt
        found[threads] = trial.fps
    best = max(found.values())
    return Tuning(threads=next(count for count in counts if found[count] >= ENOUGH * best), fps=found)


def _golden(session: Session) -> np.ndarray:
    import cv2

    artifact = session.artifact
    return np.asarray(cv2.imread(str(artifact.folder / artifact.manifest.golden.image), cv2.IMREAD_COLOR))


class _Replay(ABC):
    """The parts of a camera that repeat other frames: nothing is opened, skipped or counted."""

    live = False
    skipped = 0
    trouble = ""
    counts = CameraCounts()
    fps: float

    def __enter__(self) -> _Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""

    @abstractmethod
    def stop(self) -> None:
        """End `frames`."""


class _Images(_Replay):
    """The same images, repeated endlessly."""

    fps = 30.0

    def __init__(self, images: tuple[np.ndarray, ...]) -> None:
        self._images = images

    def frames(self) -> Iterator[Frame]:
        """Yield the images in turn."""
        for index, image in enumerate(cycle(self._images)):
            yield Frame(index=index, image=image, captured_s=time.monotonic())

    def stop(self) -> None:
        """Do nothing: there is no wait to end."""


class _Limited(_Replay):
    """An entered camera's frames for some seconds, at least a few, none dropped."""

    def __init__(self, camera: Camera, *, seconds: float) -> None:
        self.fps = camera.fps
        self._camera = camera
        self._seconds = seconds

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the time is up."""
        start_s = time.monotonic()
        for count, frame in enumerate(self._camera.frames()):
            if count >= LEAST_FRAMES and time.monotonic() - start_s > self._seconds:
                return
            yield frame

    def stop(self) -> None:
        """End the camera's frames."""
        self._camera.stop()
