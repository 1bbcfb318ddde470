"""How much an artifact's labels flicker on a video: unsmoothed, smoothed, and compared with another artifact."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import InputError
from edgeseg.metrics.flicker import Flicker, FlickerMeter
from edgeseg.runtime import Session, load, open_camera
from edgeseg.runtime.cameras.synthetic import Street
from edgeseg.runtime.cameras.unread_frames import unread_frames
from edgeseg.runtime.frames.frame_processor import FrameProcessor
from edgeseg.runtime.frames.temporal_smoothing import smoother_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FlickerRow:
    """One way of labelling the frames: flicker, lag in frames, and the share of labels equal to the plain artifact's.

    The agreement of a smoothed row shows what smoothing changes: less flicker, but more lag.
    """

    subject: str
    smooth: str
    flicker: Flicker
    agreement: float
    lag_frames: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlickerReport:
    """The rows, all measured on the same pixels of the same frames."""

    source: str
    motion: bool
    frames: int
    rows: tuple[FlickerRow, ...]
    notice: str
    damage: str = ""
    """What could not be read, and was left out; frames are compared across the gap."""


def measure_flicker(
    artifact: Path | str,
    *,
    source: str | Path,
    smooth: tuple[str, ...] = (),
    baseline: Path | str | None = None,
    motion: bool = False,
    frames: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> FlickerReport:
    """Return the flicker of `artifact`, plain and with each way of `smooth`, and that of `baseline`, on a file.

    Raises:
        ArtifactError, MissingDependency, UnknownName: an artifact or engine that does not open.
        CameraError, InputError: a source that does not open, is live, or has fewer than two frames.
    """
    source = str(source)
    with contextlib.ExitStack() as opened:
        session = opened.enter_context(load(artifact, engine=engine, threads=threads))
        other = None if baseline is None else opened.enter_context(load(baseline, threads=threads))
        ways = _ways(session, other, smooth)
        camera = opened.enter_context(open_camera(source))
        if camera.live:
            raise InputError(f"{source}: flicker is measured on a file, where every frame counts. Record one first.")
        if frames is None and isinstance(camera, Street):
            raise InputError(f"{source}: has no end. Say after how many frames to stop, such as --frames 300.")
        meter = FlickerMeter(motion=motion, maps=len(ways))
        equal, pixels, done = np.zeros(len(ways), np.int64), 0, 0
        for frame in camera.frames():
            maps = _labels(ways, frame.image)
            meter.update(frame.image, *maps)
            equal += [int(np.count_nonzero(one == maps[0])) for one in maps]
            pixels, done = pixels + maps[0].size, done + 1
            if on_progress is not None:
                on_progress("flicker", done, frames or 0)
            if done == frames:
                break
        if done < 2:
            raise InputError(f"{source}: {done} frames; flicker needs at least two.")
        rows = tuple(
            FlickerRow(
                subject=way.reader.session.artifact.manifest.name,
                smooth=way.smooth,
                flicker=found,
                agreement=float(same / pixels),
                lag_frames=way.lag_frames,
            )
            for way, found, same in zip(ways, meter.results(), equal, strict=True)
        )
        notice = session.artifact.manifest.notice
        unread = unread_frames(camera.counts, source=source)
    return FlickerReport(
        source=source,
        motion=motion,
        frames=done,
        rows=rows,
        notice=notice,
        damage="" if unread is None else str(unread),
    )


@dataclass(frozen=True, slots=True)
class _Way:
    reader: FrameProcessor
    smooth: str
    lag_frames: float


def _ways(session: Session, other: Session | None, smooth: tuple[str, ...]) -> list[_Way]:
    """Return the ways in the order of the rows; the ways of one session stand side by side."""
    ways = []
    for one in (session, *(() if other is None else (other,))):
        for text in ("none", *smooth):
            smoother = smoother_of(text)
            lag_frames = 0.0 if smoother is None else smoother.lag_frames
            ways.append(_Way(FrameProcessor(one, smoother=smoother), text, lag_frames))
    return ways


def _labels(ways: list[_Way], image: np.ndarray) -> list[np.ndarray]:
    outputs: dict[int, np.ndarray] = {}
    maps = []
    for way in ways:
        session = way.reader.session
        if id(session) not in outputs:
            outputs[id(session)] = session.infer(way.reader.prepare(image))
        maps.append(way.reader.read(outputs[id(session)], size=(image.shape[0], image.shape[1])).labels)
    return maps
