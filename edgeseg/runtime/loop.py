"""The camera loop: capture and preprocess, infer, decode and draw, and the sinks, each stage in its own thread.

Engines, OpenCV and most of numpy run without the interpreter lock, so the engine is kept busy while the frames before
and after it are prepared and decoded. A file drops nothing. A live source is asked for its newest frame only when the
engine is free, so that no frame grows old in a queue.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.confusion import ConfusionMatrix
from edgeseg.core.protocols import Camera, Frame
from edgeseg.core.spec import ModelSpec
from edgeseg.errors import InputError
from edgeseg.runtime.handover import Handover
from edgeseg.runtime.hud import Hud
from edgeseg.runtime.session import Session
from edgeseg.runtime.sinks import Sink, View
from edgeseg.runtime.timing import Clock, StageTimes

if TYPE_CHECKING:
    from edgeseg.runtime.overlay import Overlay

ROOM = 2
"""Frames that may wait between two stages of a file's loop: enough to bridge a slow frame."""
HUD_STAGES = {"prep": "preprocess", "infer": "infer", "decode": "decode"}
JOIN_S = 2.0
SWITCH_S = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """How a loop went. `miou` is None where the source has no labels; a frame's age is taken when its result is out."""

    frames: int
    fps: float
    skipped: int
    age_p50_ms: float
    age_p90_ms: float
    stages_ms: dict[str, StageTimes]
    miou: float | None
    interrupted: bool


def run(
    session: Session,
    camera: Camera,
    *,
    sinks: Sequence[Sink] = (),
    frames: int | None = None,
    overlay: bool = True,
    on_frame: Callable[[int], None] | None = None,
) -> LoopResult:
    """Return how the loop over an entered `camera` went, after its last frame or the first `frames` of them.

    Sinks are opened and closed here; they are called, like `on_frame(done)`, from the calling thread. A sink that
    answers False, and Ctrl-C, end the loop with the result so far and finished files.

    Raises:
        CameraError, InputError: what the source or a sink could not go on for, once, after everything was closed.
    """
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}; give 1 or more.")
    with contextlib.ExitStack() as opened, _quick_thread_switches(), _cores_left_to_engine(session.threads):
        for sink in sinks:
            opened.enter_context(sink)
        work = _Loop(session, camera, frames=frames, overlay=overlay)
        interrupted = work.run(sinks, on_frame)
    return work.result(interrupted=interrupted)


@dataclass(frozen=True, slots=True)
class _Prepared:
    frame: Frame
    tensor: np.ndarray


@dataclass(frozen=True, slots=True)
class _Inferred:
    frame: Frame
    output: np.ndarray


class _Loop:
    """The threads of one run, and what passes between them."""

    def __init__(self, session: Session, camera: Camera, *, frames: int | None, overlay: bool) -> None:
        manifest = session.artifact.manifest
        room = 1 if camera.live else ROOM
        self.clock = Clock()
        self.confusion = ConfusionMatrix(len(manifest.spec.classes), ignore_index=manifest.spec.ignore_index)
        self._session = session
        self._camera = camera
        self._frames = frames
        self._overlay = _overlay_of(manifest.spec) if overlay else None
        self._title = f"{session.engine} {manifest.scheme.name}"
        self._prepared: Handover[_Prepared] = Handover(room)
        self._inferred: Handover[_Inferred] = Handover(room)
        self._views: Handover[View] = Handover(room)
        self._engine_free = threading.Semaphore(1)
        self._fault: BaseException | None = None
        self._fault_lock = threading.Lock()

    def run(self, sinks: Sequence[Sink], on_frame: Callable[[int], None] | None) -> bool:
        """Run to the end and return whether Ctrl-C was pressed; raises the first fault of any stage."""
        stages = (self._prepare_all, self._infer_all, self._decode_all)
        threads = [threading.Thread(target=self._guarded, args=(stage,), daemon=True) for stage in stages]
        interrupted = False
        try:
            for thread in threads:
                thread.start()
            self._deliver_all(sinks, on_frame)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._stop()
            for thread in threads:
                thread.join(timeout=JOIN_S)
        if self._fault is not None:
            raise self._fault
        return interrupted

    def result(self, *, interrupted: bool) -> LoopResult:
        """Return the figures of the run."""
        p50_ms, p90_ms = self.clock.age_ms()
        return LoopResult(
            frames=self.clock.frames,
            fps=self.clock.fps(),
            skipped=self._camera.skipped,
            age_p50_ms=p50_ms,
            age_p90_ms=p90_ms,
            stages_ms=self.clock.percentiles(),
            miou=self._miou(),
            interrupted=interrupted,
        )

    def _prepare_all(self) -> None:
        frames = iter(self._camera.frames())
        taken = 0
        while self._frames is None or taken < self._frames:
            if not self._may_capture():
                return
            with self.clock.stage("capture"):
                frame = next(frames, None)
            if frame is None:
                break
            with self.clock.stage("preprocess"):
                tensor = self._session.preprocess(frame.image)
            if not self._prepared.put(_Prepared(frame, tensor)):
                return
            taken += 1
        self._prepared.end()

    def _may_capture(self) -> bool:
        if self._camera.live:
            self._engine_free.acquire()
        return self._prepared.wait_for_room()

    def _infer_all(self) -> None:
        while (item := self._prepared.get()) is not None:
            with self.clock.stage("infer"):
                output = self._session.infer(item.tensor)
            self._engine_free.release()
            if not self._inferred.put(_Inferred(item.frame, output)):
                return
        self._inferred.end()

    def _decode_all(self) -> None:
        while (item := self._inferred.get()) is not None:
            frame = item.frame
            with self.clock.stage("decode"):
                labels = self._session.decode(item.output, size=(frame.image.shape[0], frame.image.shape[1]))
            # A source of other classes than the model's is shown, but cannot be scored.
            if frame.labels is not None and frame.classes == self._session.artifact.manifest.spec.classes:
                self.confusion.update(labels, frame.labels)
            image = frame.image
            if self._overlay is not None:
                with self.clock.stage("draw"):
                    image = self._overlay.draw(image, labels, hud=self._hud(frame))
            if not self._views.put(View(index=frame.index, image=image, labels=labels, captured_s=frame.captured_s)):
                return
        self._views.end()

    def _hud(self, frame: Frame) -> Hud:
        return Hud(
            title=self._title,
            fps=self.clock.recent_fps(),
            stages_ms={label: self.clock.last_ms(stage) for label, stage in HUD_STAGES.items()},
            age_ms=self.clock.last_ms("age") if self._camera.live else None,
            skipped=self._camera.skipped if self._camera.live else None,
            miou=self._miou(),
        )

    def _miou(self) -> float | None:
        return self.confusion.miou() if self.confusion.pixels else None

    def _deliver_all(self, sinks: Sequence[Sink], on_frame: Callable[[int], None] | None) -> None:
        while (view := self._views.get()) is not None:
            go_on = True
            if sinks:
                with self.clock.stage("sink"):
                    answers = [sink.write(view) for sink in sinks]
                go_on = all(answers)
            self.clock.done(captured_s=view.captured_s)
            if on_frame is not None:
                on_frame(self.clock.frames)
            if not go_on:
                return

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # raised again in the calling thread
            with self._fault_lock:
                self._fault = self._fault or error
            self._stop()

    def _stop(self) -> None:
        for handover in (self._prepared, self._inferred, self._views):
            handover.stop()
        self._engine_free.release()


def _overlay_of(spec: ModelSpec) -> Overlay:
    from edgeseg.runtime.overlay import Overlay

    return Overlay(spec.classes, palette=spec.palette)


@contextlib.contextmanager
def _cores_left_to_engine(threads: int) -> Iterator[None]:
    """Keep OpenCV to the cores that the engine does not use, at least one: its own pool would take them all."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) - threads))
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextlib.contextmanager
def _quick_thread_switches() -> Iterator[None]:
    """Let the engine's thread have the interpreter lock soon after it asks: by default it may wait for 5 ms."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
