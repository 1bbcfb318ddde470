"""The camera loop: capture, preprocess, infer, decode and draw, and the sinks, each in its own thread.

Engines, OpenCV and most of numpy run without the interpreter lock, so the engine is kept busy while the frames before
and after it are prepared and decoded. A file drops nothing. A live source gives its newest frame only when the
engine is free, so that no frame ages in a queue. A watchdog says which stage is stuck.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.interrupt import GRACE_S
from edgeseg.core.protocols import Camera, Frame
from edgeseg.errors import EdgesegError, InputError
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.runtime.frames.frame_processor import FrameProcessor, FrameProcessors
from edgeseg.runtime.loop.async_inference import InferenceLine
from edgeseg.runtime.loop.bounded_queue import Handover
from edgeseg.runtime.loop.result import LoopResult
from edgeseg.runtime.loop.stage_timing import LoopTimer, limiting_stage
from edgeseg.runtime.loop.watchdog import STUCK_S, Watchdog
from edgeseg.runtime.process_settings import cores_left_to_engine, ending_signals, make_way, quick_thread_switches
from edgeseg.runtime.sinks.base import LabelCallback, Sink, View
from edgeseg.runtime.sinks.hud import Hud, StageTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.runtime.session.session import Session

_log = logging.getLogger(__name__)

ROOM = 3
"""Frames that may wait between two stages of a file's loop: enough to bridge a slow frame."""
HUD_STAGES = {"prep": "preprocess", "infer": "infer", "decode": "decode"}
_JOIN_S = 2.0
"""How long the threads may take to end; after a signal it is `GRACE_S`."""
WAIT_MS, SPARE = 1.0, 10
"""A loop is limited by its live source if it waits for half of the frames and skips less than a tenth of them."""


def run(
    session: Session,
    camera: Camera,
    *,
    sinks: Sequence[Sink] = (),
    frames: int | None = None,
    overlay: bool = True,
    reader: FrameProcessors | None = None,
    overlap: bool = True,
    stuck_s: float = STUCK_S,
    on_frame: Callable[[int], None] | None = None,
    on_labels: Callable[[int, np.ndarray], bool | None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    on_end: Callable[[LoopResult], None] | None = None,
) -> LoopResult:
    """Return how the loop over an entered `camera` went, after its last frame or the first `frames` of them.

    Sinks are opened and closed here; they are called, like `on_frame(done)` and `on_labels(index, labels)`, from the
    calling thread, in order. A sink or `on_labels` that returns False, and Ctrl-C or SIGTERM, end the loop with the
    result so far and finished files. `on_notice(text)` reports, from another thread, a source that is lost or back, and
    a stage that is stuck at one frame for more than `stuck_s` seconds (default: the log). `on_end(result)` is also
    called when an error is raised.
    With `overlap`, engines that can (OpenVINO on two threads or more) process several frames of a file at once.
    `reader` adds steps to preprocessing and decoding, such as smoothing; its sessions then run the frames.

    Raises:
        CameraError, InputError: the source or a sink cannot go on; raised once, after everything was closed.
        EdgesegError: any other failure of a stage, which the message names; the first cause is chained.
    """
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}; give 1 or more.")
    chain = (*sinks, *([LabelCallback(on_labels)] if on_labels else []))
    work = _Loop(
        session,
        camera,
        readers=reader or FrameProcessor(session),
        frames=frames,
        overlay=overlay,
        overlap=overlap,
        stuck_s=stuck_s,
        notify=on_notice or _log.warning,
    )
    try:
        with (
            quick_thread_switches(),
            cores_left_to_engine(session.threads),
            ending_signals(work.interrupt),
            contextlib.ExitStack() as opened,
        ):
            for sink in chain:
                opened.enter_context(sink)
            work.run(chain, on_frame)
    except Exception as error:
        work.fault = work.fault or error
        raise
    finally:
        if on_end is not None and work.started:
            on_end(work.result())
    return work.result()


@dataclass(frozen=True, slots=True)
class _Prepared:
    frame: Frame
    tensor: np.ndarray
    reader: FrameProcessor


@dataclass(frozen=True, slots=True)
class _Inferred:
    frame: Frame
    output: np.ndarray
    reader: FrameProcessor


class _Loop:
    """The threads of one run, and what passes between them."""

    def __init__(
        self,
        session: Session,
        camera: Camera,
        *,
        readers: FrameProcessors,
        frames: int | None,
        overlay: bool,
        overlap: bool,
        stuck_s: float,
        notify: Callable[[str], None],
    ) -> None:
        from edgeseg.runtime.sinks.overlay import Overlay

        manifest = session.artifact.manifest
        room = 1 if camera.live else ROOM
        self.timer = LoopTimer()
        self.confusion = ConfusionMatrix(len(manifest.spec.classes), ignore_index=manifest.spec.ignore_index)
        self.fault: BaseException | None = None
        self.started = False
        self._session = session
        self._readers = readers
        self._camera = camera
        self._frames = frames
        self._overlap = overlap
        self._overlay = Overlay(manifest.spec.classes, palette=manifest.spec.palette) if overlay else None
        self._captured: Handover[Frame] = Handover(room)
        self._prepared: Handover[_Prepared] = Handover(room)
        self._inferred: Handover[_Inferred] = Handover(room)
        self._views: Handover[View] = Handover(room)
        self._queues: dict[str, Handover[Any]] = {
            "preprocess": self._captured,
            "infer": self._prepared,
            "decode": self._inferred,
            "sink": self._views,
        }
        self._engine_free = threading.Semaphore(1)
        self._fault_lock = threading.Lock()
        self._interrupted = False
        self._notify = notify
        self._watchdog = Watchdog(
            tuple(self.timer.stages.values()),
            stuck_s=stuck_s,
            notify=notify,
            trouble=lambda: camera.trouble,
            on_tick=self._stop_if_interrupted,
        )

    def interrupt(self) -> None:
        """Request the end; safe in a signal handler, because it takes no lock."""
        self._interrupted = True

    def run(self, sinks: Sequence[Sink], on_frame: Callable[[int], None] | None) -> None:
        """Run to the end; raises the first fault of any stage."""
        stages = {
            "capture": self._capture_all,
            "preprocess": self._prepare_all,
            "infer": self._infer_all,
            "decode": self._decode_all,
        }
        threads = [
            threading.Thread(target=self._guarded, args=(name, stage), name=f"edgeseg-{name}", daemon=True)
            for name, stage in stages.items()
        ]
        self.started = True
        self._watchdog.start()
        try:
            for thread in threads:
                thread.start()
            self._deliver_all(sinks, on_frame)
        except KeyboardInterrupt:
            self._interrupted = True
        finally:
            self._stop()
            self._join(threads)
            self._watchdog.close()
        if self.fault is not None:
            raise self.fault

    def result(self) -> LoopResult:
        """Return the figures of the run."""
        age, counts, stages_ms = self.timer.age(), self._camera.counts, self.timer.percentiles()
        return LoopResult(
            frames=self.timer.frames,
            fps=self.timer.fps(),
            captured=counts.captured,
            delivered=counts.delivered,
            # A frame that was still waiting when the loop ended counts as skipped.
            skipped=counts.skipped + counts.waiting,
            age_p50_ms=age.p50_ms,
            age_p90_ms=age.p90_ms,
            age_p99_ms=age.p99_ms,
            corrupt=counts.corrupt,
            concealed=counts.concealed,
            missing=counts.missing,
            reconnects=counts.reconnects,
            trouble=self._camera.trouble,
            stages_ms=stages_ms,
            limit=limiting_stage(stages_ms, waits=self._waits(stages_ms) if self._camera.live else None),
            queues={name: queue.state() for name, queue in self._queues.items()},
            stalls=self._watchdog.stalls(),
            threads=self._session.threads,
            miou=self._miou(),
            interrupted=self._interrupted,
            fault=None if self.fault is None else str(self.fault) or type(self.fault).__name__,
        )

    def _waits(self, stages_ms: dict[str, StageTimes]) -> bool:
        counts, capture = self._camera.counts, stages_ms.get("capture")
        return capture is not None and capture.p50_ms >= WAIT_MS and SPARE * counts.skipped < counts.delivered

    def _capture_all(self) -> None:
        frames, capture = iter(self._camera.frames()), self.timer.stage("capture")
        taken = 0
        while self._frames is None or taken < self._frames:
            if not self._may_capture():
                return
            with capture:
                frame = next(frames, None)
            if frame is None:
                break
            if not self._captured.put(frame):
                return
            taken += 1
        self._captured.end()

    def _may_capture(self) -> bool:
        if self._camera.live:
            self._engine_free.acquire()
        return self._captured.wait_for_room()

    def _prepare_all(self) -> None:
        preprocess = self.timer.stage("preprocess")
        while (frame := self._captured.get()) is not None:
            reader = self._readers.current()
            with preprocess:
                tensor = reader.prepare(frame.image)
            if not self._prepared.put(_Prepared(frame, tensor, reader)):
                return
        self._prepared.end()

    def _infer_all(self) -> None:
        infer = self.timer.stage("infer")
        # With a live source, overlap would only delay each frame's own result.
        line: InferenceLine[_Prepared] = InferenceLine(overlap=self._overlap and not self._camera.live)
        try:
            while (item := self._prepared.get()) is not None:
                with infer:
                    done = line.put(item, session=item.reader.session, tensor=item.tensor)
                if not all(self._hand_on(*pair) for pair in done):
                    return
            if all(self._hand_on(*pair) for pair in line.rest()):
                self._inferred.end()
        finally:
            line.drop()

    def _hand_on(self, item: _Prepared, output: np.ndarray) -> bool:
        if self._camera.live:
            self._engine_free.release()
        return self._inferred.put(_Inferred(item.frame, output, item.reader))

    def _decode_all(self) -> None:
        decode, draw = self.timer.stage("decode"), self.timer.stage("draw")
        while (item := self._inferred.get()) is not None:
            frame = item.frame
            with decode:
                reading = item.reader.read(item.output, size=(frame.image.shape[0], frame.image.shape[1]))
            labels = reading.labels
            self._observe()
            self._score(frame, labels)
            hud, image = self._hud(item.reader), frame.image
            if self._overlay is not None:
                with draw:
                    image = self._overlay.draw(image, labels, hud=hud, uncertainty=reading.uncertainty)
            view = View(
                index=frame.index,
                image=image,
                labels=labels,
                captured_s=frame.captured_s,
                media_s=frame.media_s,
                frame=frame.image,
                hud=hud,
            )
            if not self._views.put(view):
                return
        self._views.end()

    def _observe(self) -> None:
        stages = self.timer.stages
        times_ms = [stages[name].last_ms() for name in ("preprocess", "infer", "decode")]
        self._readers.observe(busy_ms=max(times_ms), latency_ms=sum(times_ms))

    def _score(self, frame: Frame, labels: np.ndarray) -> None:
        # A source with other classes than the model's is shown, but cannot be scored.
        if frame.labels is not None and frame.classes == self._session.artifact.manifest.spec.classes:
            self.confusion.update(labels, frame.labels)

    def _hud(self, reader: FrameProcessor) -> Hud:
        live, counts = self._camera.live, self._camera.counts
        times = self.timer.recent_percentiles()
        return Hud(
            title=reader.title,
            fps=self.timer.recent_fps(),
            stages_ms={label: times[stage] for label, stage in HUD_STAGES.items() if stage in times},
            age_ms=self.timer.last_age_ms() if live else None,
            skipped=counts.skipped if live else None,
            corrupt=counts.corrupt,
            reconnects=counts.reconnects,
            queues={name: queue.level() for name, queue in self._queues.items()},
            miou=self._miou(),
        )

    def _miou(self) -> float | None:
        return self.confusion.miou() if self.confusion.pixels else None

    def _deliver_all(self, sinks: Sequence[Sink], on_frame: Callable[[int], None] | None) -> None:
        stage = self.timer.stage("sink")
        while (view := self._views.get()) is not None:
            go_on = True
            if sinks:
                with stage:
                    answers = [self._written(sink, view) for sink in sinks]
                go_on = all(answers)
            self.timer.done(captured_s=view.captured_s)
            if on_frame is not None:
                on_frame(self.timer.frames)
            if not go_on:
                return

    def _written(self, sink: Sink, view: View) -> bool:
        self.timer.stages["sink"].note = type(sink).__name__
        return sink.write(view)

    def _guarded(self, name: str, stage: Callable[[], None]) -> None:
        if name != "infer" and not self._camera.live:
            make_way()
        try:
            stage()
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            with self._fault_lock:
                self.fault = self.fault or _named(error, stage=name)
            self._stop()

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            self._stop()

    def _stop(self) -> None:
        for handover in self._queues.values():
            handover.stop()
        self._engine_free.release()
        self._camera.stop()

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        deadline_s = time.monotonic() + (GRACE_S if self._interrupted else _JOIN_S)
        for thread in threads:
            thread.join(timeout=max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                name = thread.name.removeprefix("edgeseg-")
                self._notify(f'The stage "{name}" does not return from native code and was abandoned.')


def _named(error: BaseException, *, stage: str) -> BaseException:
    """Return the error, or for one that is not ours, an `EdgesegError` that names the stage."""
    if isinstance(error, EdgesegError) or not isinstance(error, Exception):
        return error
    named = EdgesegError(f'The stage "{stage}" failed: {type(error).__name__}: {error}')
    named.__cause__ = error
    return named
