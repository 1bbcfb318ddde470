"""Views, sinks and registered kinds of sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from edgeseg.runtime.sinks.hud import Hud

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from edgeseg.core.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One result: the image (H, W, 3) BGR uint8, with the overlay if that is on, and its labels (H, W) uint8.

    `frame` is the original image, `media_s` its time in a recorded video, and `hud` the loop's figures.
    """

    index: int
    image: np.ndarray
    labels: np.ndarray
    captured_s: float
    frame: np.ndarray
    hud: Hud
    media_s: float | None = None


S = TypeVar("S")


class Sink(Protocol):
    """A context manager that takes views in order."""

    def __enter__(self: S) -> S: ...
    def write(self, view: View) -> bool:
        """Take a view; return whether the loop should go on."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """What a sink may know about the run: the model, the source's rate and whether it is live.

    With `force` it replaces existing files. `notify(text)` shows a message to the user, and `trouble()` says why no
    frame is coming now.
    """

    spec: ModelSpec
    title: str
    fps: float
    live: bool
    force: bool
    notify: Callable[[str], None]
    trouble: Callable[[], str]


@runtime_checkable
class SinkKind(Protocol):
    """A kind of sink, registered under `edgeseg.sinks`; `run --sink NAME[:ARGUMENT]` opens it.

    `drawn` says whether it uses `View.image`; if no sink does, no overlay is drawn.
    """

    drawn: bool

    def check(self, argument: str, *, force: bool) -> None:
        """Return if such a sink can be opened; raises an `EdgesegError` otherwise. Quick, before any slow work."""

    def writes(self, argument: str) -> Path | None:
        """Return the file or folder that it would write, so that no input is overwritten."""

    def sink(self, argument: str, context: SinkContext) -> Sink:
        """Return the sink, not yet opened."""


class LabelCallback:
    """Passes each frame's labels to a function; the loop ends if it returns False."""

    def __init__(self, function: Callable[[int, np.ndarray], bool | None]) -> None:
        self._function = function

    def __enter__(self) -> LabelCallback:
        return self

    def write(self, view: View) -> bool:
        """Call the function; an exception ends the loop and is raised from it."""
        return self._function(view.index, view.labels) is not False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
