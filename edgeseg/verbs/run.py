"""The camera loop with what a person asks for around it: a source, a window or a file, a number of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeseg.runtime import LoopResult, Sink, VideoSink, WindowSink, load, open_camera
from edgeseg.runtime import run as loop

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a loop went, and with what; `notice` is what the licence asks to be shown."""

    artifact: str
    engine: str
    loop: LoopResult
    notice: str


def run_loop(
    artifact: Path,
    *,
    source: str = "synthetic",
    save: Path | None = None,
    window: bool = False,
    overlay: bool = True,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> RunOutcome:
    """Return how the loop over `source` went; the overlay goes to `save` and, where asked, to a window.

    Raises:
        ArtifactError, MissingDependency, UnknownName: an artifact or engine that does not open.
        CameraError, InputError: a source or a destination that does not.
    """
    with load(artifact, engine=engine, threads=threads) as session, open_camera(source, size=size) as camera:
        sinks: list[Sink] = [VideoSink(save, fps=camera.fps)] if save else []
        if window:
            sinks.append(WindowSink())
        result = loop(
            session,
            camera,
            sinks=tuple(sinks),
            frames=frames,
            overlay=overlay and bool(sinks),
            on_frame=None if on_progress is None else lambda done: on_progress("run", done, frames or 0),
        )
        manifest = session.artifact.manifest
        return RunOutcome(artifact=manifest.name, engine=session.engine, loop=result, notice=manifest.notice)
