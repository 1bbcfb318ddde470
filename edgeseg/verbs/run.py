"""The camera loop with a source, sinks and options."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeseg.core.interrupt import signals_as_interrupt
from edgeseg.core.spec import orientation_warning
from edgeseg.errors import EdgesegError
from edgeseg.runtime import LoopResult, Session, Sink, SinkContext, VideoSink, load, open_camera
from edgeseg.runtime import run as loop
from edgeseg.runtime.cameras.address import redacted
from edgeseg.runtime.cameras.unread_frames import unread_frames
from edgeseg.runtime.frames.drift_monitor import Observation
from edgeseg.runtime.frames.options import Opened, Reading, open_reading
from edgeseg.runtime.sinks.areas import STDOUT
from edgeseg.runtime.sinks.opening import check_sinks, open_sinks, wanted

if TYPE_CHECKING:
    import numpy as np

    from edgeseg.core.progress import Progress
    from edgeseg.core.protocols import Camera
    from edgeseg.runtime.web import WebAddress

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """Which kind of uncertainty was shown, and its calibration temperature; None if the artifact has none."""

    kind: str
    temperature: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The result of a loop and its setup; `notice` is what the licence requires to be shown.

    `fault` is what ended the loop after its first frame: files are finished and figures are valid up to there.
    `observation` is the monitor's, where there was one, and `size_steps` how often the input size changed.
    """

    artifact: str
    engine: str
    loop: LoopResult
    notice: str
    fault: EdgesegError | None = None
    observation: Observation | None = None
    uncertainty: Uncertainty | None = None
    size_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where results go, any of them at once; `areas` may be "-" for stdout, `sinks` are further `NAME[:ARGUMENT]`.

    Nothing that exists is replaced without `force`.
    """

    save: str | Path | None = None
    labels: str | Path | None = None
    areas: str | Path | None = None
    web: WebAddress | None = None
    window: bool = False
    sinks: tuple[str, ...] = ()
    force: bool = False

    @property
    def fills_stdout(self) -> bool:
        """Whether lines go to stdout, which then has room for nothing else."""
        return f"areas:{STDOUT}" in self.names()

    def names(self) -> tuple[str, ...]:
        """Return each as `NAME:ARGUMENT`."""
        files = (("video", self.save), ("labels", self.labels), ("areas", self.areas))
        return (
            *(f"{name}:{path}" for name, path in files if path is not None),
            *((f"web:{self.web.text}",) if self.web else ()),
            *(("window",) if self.window else ()),
            *self.sinks,
        )


def run_loop(
    artifact: str | Path,
    *,
    source: str = "synthetic",
    outputs: Outputs | None = None,
    reading: Reading | None = None,
    overlay: bool = True,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    pixel_format: str | None = None,
    reconnect_s: float | None = None,
    engine: str | None = None,
    threads: int | Literal["auto"] | None = None,
    on_progress: Progress | None = None,
    on_notice: Notify | None = None,
    on_labels: Callable[[int, np.ndarray], bool | None] | None = None,
) -> RunOutcome:
    """Return the outcome of the loop over `source`.

    With `threads` "auto", a trial of a second chooses them; by default the artifact's target does. `on_notice` gets
    messages for the user: the web page's address, the threads chosen, a source that is lost, a stage that is stuck.
    `pixel_format` is a FourCC asked of a camera; a lost source is retried for `reconnect_s` seconds.

    Raises:
        ArtifactError, MissingDependency, UnknownName: an artifact, an engine or a sink that does not open.
        CameraError, InputError: a source or a destination that does not, or a fault before the first frame.
        KeyboardInterrupt: a signal before the loop began; from then on the outcome says so.
    """
    artifact, outputs, reading = Path(artifact), outputs or Outputs(), reading or Reading()
    notify = on_notice or (lambda _text: None)
    sinks = wanted(outputs.names())
    inputs = (artifact, *reading.others, *((reading.monitor,) if reading.monitor else ()))
    check_sinks(sinks, source=source, artifacts=inputs, force=outputs.force)
    reading.check()
    overlay = overlay and any(sink.kind.drawn for sink in sinks)
    if reading.uncertainty and sinks and not overlay:
        notify("--uncertainty is drawn in a window and in --save alone; nothing that was asked for shows it.")
    with (
        signals_as_interrupt(),
        open_camera(source, size=size, fps=fps, pixel_format=pixel_format, reconnect_s=reconnect_s) as camera,
    ):
        if threads == "auto":
            again = None if camera.live else (lambda: open_camera(source, size=size, fps=fps))
            threads = _tuned(artifact, engine=engine, again=again, overlay=overlay, outputs=outputs, notify=notify)
        with (
            load(artifact, engine=engine, threads=threads) as session,
            open_reading(session, reading, engine=engine, notify=notify) as opened,
        ):
            if size is not None and (turned := orientation_warning(size, own=session.input.size)):
                notify(turned)
            fed = open_sinks(sinks, _context(session, camera, force=outputs.force, notify=notify))
            ends: list[LoopResult] = []
            fault = None
            try:
                loop(
                    session,
                    camera,
                    sinks=(*fed, *((opened.monitor,) if opened.monitor else ())),
                    frames=frames,
                    overlay=overlay,
                    reader=opened.readers,
                    on_frame=None if on_progress is None else lambda done: on_progress("run", done, frames or 0),
                    on_labels=on_labels,
                    on_notice=notify,
                    on_end=ends.append,
                )
            except EdgesegError as error:
                if not ends or not ends[-1].frames:
                    raise
                fault = error
            if not camera.live:
                fault = fault or unread_frames(camera.counts, source=redacted(source))
            return _outcome(session, opened, loop=ends[-1], fault=fault, kind=reading.uncertainty)


def _context(session: Session, camera: Camera, *, force: bool, notify: Notify) -> SinkContext:
    manifest = session.artifact.manifest
    return SinkContext(
        spec=manifest.spec,
        title=manifest.name,
        fps=camera.fps,
        live=camera.live,
        force=force,
        notify=notify,
        trouble=lambda: camera.trouble,
    )


def _outcome(
    session: Session, opened: Opened, *, loop: LoopResult, fault: EdgesegError | None, kind: str | None
) -> RunOutcome:
    manifest = session.artifact.manifest
    temperature = None if manifest.temperature is None else manifest.temperature.value
    return RunOutcome(
        artifact=manifest.name,
        engine=session.engine,
        loop=loop,
        notice=manifest.notice,
        fault=fault,
        uncertainty=None if kind is None else Uncertainty(kind=kind, temperature=temperature),
        observation=opened.monitor.observation() if opened.monitor else None,
        size_steps=opened.ladder.steps if opened.ladder else 0,
    )


def _tuned(
    artifact: Path,
    *,
    engine: str | None,
    again: Callable[[], Camera] | None,
    overlay: bool,
    outputs: Outputs,
    notify: Notify,
) -> int:
    from edgeseg.runtime.loop.thread_tuning import tune_threads

    @contextlib.contextmanager
    def video_like_ours() -> Iterator[Sequence[Sink]]:
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
            trial = None if outputs.save is None else Path(folder) / f"trial{Path(outputs.save).suffix}"
            yield () if trial is None else (VideoSink(trial, fps=30.0),)

    tuning = tune_threads(artifact, engine=engine, source=again, overlay=overlay, sinks=video_like_ours)
    if tuning.fps:
        notify(tuning.words())
    return tuning.threads
