"""The camera loop with what a person asks for around it: a source, sinks, a number of frames."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeseg.errors import CameraError, EdgesegError
from edgeseg.runtime import AreaLines, LabelFolder, LoopResult, Session, Sink, VideoSink, WindowSink, load, open_camera
from edgeseg.runtime import run as loop
from edgeseg.runtime.cameras.address import redacted
from edgeseg.runtime.frames.drift_monitor import Observation
from edgeseg.runtime.frames.options import Opened, Reading, open_reading
from edgeseg.runtime.web import WebAddress, WebSink

if TYPE_CHECKING:
    import numpy as np

    from edgeseg.core.progress import Progress
    from edgeseg.core.protocols import Camera

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """Which doubt was shown, and the temperature it was calibrated by; None where the artifact carries none."""

    kind: str
    temperature: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a loop went, and with what; `notice` is what the licence asks to be shown.

    `fault` is what ended the loop after its first frame: files are finished and figures hold until there.
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
    """Where results go, any of them at once; `areas` may be "-" for stdout."""

    save: Path | None = None
    labels: Path | None = None
    areas: Path | None = None
    web: WebAddress | None = None
    window: bool = False

    @property
    def drawn(self) -> bool:
        """Whether anything shows the overlay; the web page draws its own."""
        return self.save is not None or self.window


def run_loop(
    artifact: Path,
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
    """Return how the loop over `source` went.

    With `threads` "auto" a second of trials chooses them; without, the artifact's target does. `on_notice` is told
    what a person should read meanwhile: the web page's address, the threads chosen, a source that is lost, a stage
    that is stuck. `pixel_format` is a FourCC asked of a camera; a lost source is tried again for `reconnect_s` seconds.

    Raises:
        ArtifactError, MissingDependency, UnknownName: an artifact or engine that does not open.
        CameraError, InputError: a source or a destination that does not, or a fault before the first frame.
    """
    outputs = outputs or Outputs()
    overlay = overlay and outputs.drawn
    notify = on_notice or (lambda _text: None)
    with open_camera(source, size=size, fps=fps, pixel_format=pixel_format, reconnect_s=reconnect_s) as camera:
        if threads == "auto":
            again = None if camera.live else (lambda: open_camera(source, size=size, fps=fps))
            threads = _tuned(artifact, engine=engine, again=again, overlay=overlay, outputs=outputs, notify=notify)
        with (
            load(artifact, engine=engine, threads=threads) as session,
            open_reading(session, reading or Reading(), engine=engine, notify=notify) as opened,
        ):
            sinks = _sinks(outputs, session=session, camera=camera, notify=notify)
            if opened.monitor:
                sinks = (*sinks, opened.monitor)
            ends: list[LoopResult] = []
            fault = None
            try:
                loop(
                    session,
                    camera,
                    sinks=sinks,
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
                fault = fault or _damage(ends[-1], source=redacted(source))
            return _outcome(session, opened, loop=ends[-1], fault=fault, doubt=reading.doubt if reading else None)


def _damage(ended: LoopResult, *, source: str) -> CameraError | None:
    """Return what of a file could not be read, None where every frame was."""
    parts = [
        *([f"{ended.corrupt} of its frames are corrupt and were left out"] if ended.corrupt else []),
        *([f"it ended {ended.missing} frames early"] if ended.missing else []),
    ]
    return (
        CameraError(f"{source}: {', and '.join(parts)}. The results of the other frames are whole.") if parts else None
    )


def _outcome(
    session: Session, opened: Opened, *, loop: LoopResult, fault: EdgesegError | None, doubt: str | None
) -> RunOutcome:
    manifest = session.artifact.manifest
    temperature = None if manifest.temperature is None else manifest.temperature.value
    return RunOutcome(
        artifact=manifest.name,
        engine=session.engine,
        loop=loop,
        notice=manifest.notice,
        fault=fault,
        uncertainty=None if doubt is None else Uncertainty(kind=doubt, temperature=temperature),
        observation=opened.monitor.observation() if opened.monitor else None,
        size_steps=opened.ladder.steps if opened.ladder else 0,
    )


def _sinks(outputs: Outputs, *, session: Session, camera: Camera, notify: Notify) -> tuple[Sink, ...]:
    manifest = session.artifact.manifest
    sinks: list[Sink] = []
    if outputs.save:
        sinks.append(VideoSink(outputs.save, fps=camera.fps, live=camera.live))
    if outputs.labels:
        sinks.append(LabelFolder(outputs.labels))
    if outputs.areas:
        sinks.append(AreaLines(outputs.areas, classes=manifest.spec.classes))
    if outputs.web:
        web = outputs.web
        sinks.append(
            WebSink(
                manifest.spec,
                address=web,
                title=manifest.name,
                trouble=lambda: camera.trouble,
                on_open=lambda url: notify(_web_words(url, web)),
            )
        )
    if outputs.window:
        sinks.append(WindowSink())
    return tuple(sinks)


def _web_words(url: str, address: WebAddress) -> str:
    if address.is_loopback:
        return f"Web page: {url} (this machine only)"
    return (
        f"Web page: {url}\n"
        "Whoever has this address can watch, and nothing on the way is encrypted: use a network that you trust."
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
            yield (VideoSink(Path(folder) / f"trial{outputs.save.suffix}", fps=30.0),) if outputs.save else ()

    tuning = tune_threads(artifact, engine=engine, source=again, overlay=overlay, sinks=video_like_ours)
    if tuning.fps:
        notify(tuning.words())
    return tuning.threads
