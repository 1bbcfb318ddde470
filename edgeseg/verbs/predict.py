"""Label maps of images in files, large ones in tiles, written as they are made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgeseg.core.files import MARKER, delete_stale, read_json, refuse_foreign, write_json
from edgeseg.core.interrupt import HeldInterrupt
from edgeseg.core.progress import Progress, no_progress, reported_as
from edgeseg.core.records import renamed
from edgeseg.data import open_dataset
from edgeseg.data.image_globs import ListedImage, find_images, images_of
from edgeseg.errors import DatasetError, InputError
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.runtime import Session, load
from edgeseg.runtime.sinks.label_files import write_image, write_labels
from edgeseg.runtime.sinks.overlay import Overlay
from edgeseg.runtime.tiles.plan import Tiling
from edgeseg.runtime.tiles.seams import Seams
from edgeseg.runtime.tiles.segment import TiledLabels, segment_tiled

SUMMARY = "predictions.json"
SAVE_EVERY_S = 5.0
OnFault = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Everything that determines an image's labels; --resume continues only with the same settings."""

    artifact: str
    artifact_sha256: str
    engine: str
    tile: str
    overlap: float
    flip: bool
    scales: tuple[float, ...]
    palette: bool
    overlay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prediction:
    """One image's result; `labels` is relative to the output folder, (height, width) in pixels, `tile` likewise.

    `runs` is how often the net ran, `share` the part of the pixels of each class that occurs.
    """

    image: str = field(metadata=renamed("picture"))
    labels: str
    size: tuple[int, int]
    tile: tuple[int, int]
    runs: int
    seconds: float
    share: dict[str, float]
    seams: Seams | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The summary of an output folder: settings, each finished image, and unusable ones with the reason."""

    settings: _Settings
    images: tuple[_Prediction, ...] = field(default=(), metadata=renamed("pictures"))
    unreadable: tuple[str, ...] = ()
    resumed: int = 0
    interrupted: bool = False
    miou: float | None = None
    notice: str = ""


def predict(
    artifact: Path | str,
    images: Sequence[Path | str] = (),
    *,
    out: Path | str = "predictions",
    tiling: Tiling | None = None,
    palette: bool = False,
    overlay: bool = False,
    resume: bool = False,
    force: bool = False,
    data: Path | str | None = None,
    split: str = "val",
    limit: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_fault: OnFault | None = None,
) -> Predictions:
    """Return what was predicted for `images` (files, folders, patterns), or for a data set, which is scored too.

    Label maps go to `out`/labels, overlays to `out`/overlays, the summary to `out`/predictions.json. An image that
    cannot be read is reported to `on_fault` and skipped; Ctrl-C ends with the results so far. An earlier call's results
    are continued with `resume`, replaced with `force`.

    Raises:
        InputError: no images, or images in `out`; an `out` that edgeseg did not make, or that was made with other
            settings, or that holds results without `resume` or `force`; a full disk.
        ArtifactError, MissingDependency, UnknownName: an artifact or engine that does not open.
    """
    out = Path(out)
    tiling = tiling or Tiling()
    tiling.check()
    check_source(images, data=data)
    if data is not None and resume:
        raise InputError("--resume does not go with --data: the score needs every image. Use one of them.")
    if not (resume or force):
        _refuse_results(out)
    items = _items(tuple(map(str, images)), data=None if data is None else str(data), split=split, limit=limit)
    _refuse_inputs(items, out=out)
    with load(artifact, engine=engine, threads=threads) as session:
        settings = _settings(session, tiling, palette=palette, overlay=overlay)
        folder = _Folder(out, settings=settings, resume=resume, notice=session.artifact.manifest.notice)
        work = _Work(session, tiling=tiling, folder=folder, palette=palette, overlay=overlay)
        try:
            for index, item in enumerate(items):
                if on_progress is not None:
                    on_progress("predict", index, len(items))
                _one(work, item, on_progress, on_fault)
            folder.forget_rest()
        except KeyboardInterrupt:
            folder.found = replace(folder.found, interrupted=True)
        finally:
            folder.found = replace(folder.found, miou=work.miou())
            folder.save()
        return folder.found


def check_source(images: Sequence[str | Path], *, data: str | Path | None) -> None:
    """Raise `InputError` unless there are either images or a data set."""
    if bool(images) == (data is not None):
        raise InputError("Give images (files, folders, patterns), or a data set by --data; one of the two.")


def _items(images: Sequence[str], *, data: str | None, split: str, limit: int | None) -> tuple[ListedImage, ...]:
    if data is not None:
        return images_of(open_dataset(data, split=split), limit=limit)
    return find_images(images)[:limit]


def _refuse_results(out: Path) -> None:
    if (out / SUMMARY).is_file() and any((out / "labels").rglob("*.png")):
        raise InputError(
            f"{out}: holds the results of an earlier call. Continue it with --resume, replace them with --force, or "
            "choose another --out."
        )


def _refuse_inputs(items: Sequence[ListedImage], *, out: Path) -> None:
    place = out.resolve()
    for item in items:
        if place in Path(item.source).resolve().parents:
            raise InputError(f"{item.source}: is an input, and results go into {out}. Choose another --out.")


def _one(work: _Work, item: ListedImage, on_progress: Progress | None, on_fault: OnFault | None) -> None:
    if work.folder.resumes(item):
        return
    try:
        image, truth = item.read()
    except DatasetError as error:
        work.folder.refuse(str(error))
        if on_fault is not None:
            on_fault(str(error))
        return
    tiles = reported_as(on_progress, f"tiles of {item.name}")
    work.predict(item, image, truth, tiles if work.cuts(image) else no_progress)


def _settings(session: Session, tiling: Tiling, *, palette: bool, overlay: bool) -> _Settings:
    tile = tiling.tile if isinstance(tiling.tile, str) else f"{tiling.tile[0]}x{tiling.tile[1]}"
    return _Settings(
        artifact=session.artifact.manifest.name,
        artifact_sha256=session.artifact.sha256,
        engine=f"{session.engine} {session.engine_version}",
        tile=tile,
        overlap=tiling.overlap,
        flip=tiling.flip,
        scales=tiling.scales,
        palette=palette,
        overlay=overlay,
    )


class _Work:
    """From an image to its files."""

    def __init__(self, session: Session, *, tiling: Tiling, folder: _Folder, palette: bool, overlay: bool) -> None:
        spec = session.artifact.manifest.spec
        self.folder = folder
        self._session = session
        self._tiling = tiling
        self._classes = spec.classes
        self._palette = spec.palette if palette else None
        self._overlay = Overlay(spec.classes, palette=spec.palette) if overlay else None
        self._confusion = ConfusionMatrix(len(spec.classes), ignore_index=spec.ignore_index)

    def cuts(self, image: np.ndarray) -> bool:
        """Return whether an image takes long enough for its own progress bar."""
        result: bool = image.shape[0] * image.shape[1] > 16 * self._session.input.size[0] * self._session.input.size[1]
        return result

    def miou(self) -> float | None:
        """Return the mIoU over the labelled images; None if there are none."""
        return self._confusion.miou() if self._confusion.pixels else None

    def predict(self, item: ListedImage, image: np.ndarray, truth: np.ndarray | None, on_tile: Progress) -> None:
        """Predict one image, write its files, and remember the result."""
        begun_s = time.perf_counter()
        done = segment_tiled(self._session, image, tiling=self._tiling, on_progress=on_tile)
        seconds = time.perf_counter() - begun_s
        with HeldInterrupt() as interrupt:
            self._keep(item, image, truth, done=done, seconds=seconds)
        if interrupt.wanted:
            raise KeyboardInterrupt

    def _keep(
        self, item: ListedImage, image: np.ndarray, truth: np.ndarray | None, *, done: TiledLabels, seconds: float
    ) -> None:
        """Write an image's files and remember the result: both or neither."""
        if self._overlay is not None:
            write_image(self.folder.overlay_path(item), self._overlay.draw(image, done.labels))
        # Labels last: they mark a finished image.
        path = self.folder.label_path(item)
        write_labels(path, done.labels, palette=self._palette)
        if truth is not None:
            self._confusion.update(done.labels, truth)
        counts = np.bincount(done.labels.reshape(-1), minlength=len(self._classes))
        shares = {name: float(n / done.labels.size) for name, n in zip(self._classes, counts, strict=False) if n}
        self.folder.add(
            _Prediction(
                image=item.source,
                labels=path.relative_to(self.folder.path).as_posix(),
                size=(done.labels.shape[0], done.labels.shape[1]),
                tile=done.tile_px,
                runs=done.runs,
                seconds=round(seconds, 4),
                share=shares,
                seams=done.seams,
            )
        )


class _Folder:
    """The output folder and its summary."""

    def __init__(self, path: Path, *, settings: _Settings, resume: bool, notice: str) -> None:
        self.path = path
        self.found = Predictions(settings=settings, notice=notice)
        self._old: dict[str, _Prediction] = {}
        self._saved_s = time.monotonic()
        refuse_foreign(path, replaced=False)
        self._take(resume)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / MARKER).touch()
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another --out.") from None
        for folder in (path, path / "labels", path / "overlays"):
            delete_stale(folder)
        self.save()

    def _take(self, resume: bool) -> None:
        """Continue an earlier call, or delete what it wrote, and nothing else."""
        # A call that was ended before its first summary leaves hidden files only.
        if not self.path.is_dir() or all(item.name.startswith(".") for item in self.path.iterdir()):
            return
        if not (self.path / SUMMARY).is_file():
            raise InputError(f"{self.path}: contains something else that edgeseg made. Choose another --out.")
        old = read_json(Predictions, self.path / SUMMARY)
        if not resume:
            self._delete(old)
            return
        if old.settings != self.found.settings:
            raise InputError(
                f"{self.path}: was made {_difference(old.settings, self.found.settings)}. "
                "Give the same to --resume, leave it out to start anew, or choose another --out."
            )
        self._old = {prediction.labels: prediction for prediction in old.images}

    def _delete(self, old: Predictions) -> None:
        """Delete the results of an earlier call: what the user laid beside them stays."""
        labels, overlays = self.path / "labels", self.path / "overlays"
        for prediction in old.images:
            path = self.path / prediction.labels
            if path.is_relative_to(labels) and ".." not in path.parts:
                for made in (path, overlays / path.relative_to(labels)):
                    made.unlink(missing_ok=True)
        for folder in (labels, overlays):
            inner = [place for place in folder.rglob("*") if place.is_dir() and not place.is_symlink()]
            for place in (*sorted(inner, reverse=True), folder):
                with contextlib.suppress(OSError):  # holds something, or is not there
                    place.rmdir()

    def label_path(self, item: ListedImage) -> Path:
        """Return where an image's label map goes."""
        return self.path / "labels" / f"{item.name}.png"

    def overlay_path(self, item: ListedImage) -> Path:
        """Return where an image's overlay goes."""
        return self.path / "overlays" / f"{item.name}.png"

    def resumes(self, item: ListedImage) -> bool:
        """Return whether an earlier call did this image, as it is now; its result is then reused."""
        path = self.label_path(item)
        old = self._old.get(path.relative_to(self.path).as_posix())
        if old is None or old.image != item.source or not path.is_file() or path.stat().st_mtime < item.modified_s:
            return False
        self.found = replace(self.found, images=(*self.found.images, old), resumed=self.found.resumed + 1)
        return True

    def add(self, prediction: _Prediction) -> None:
        """Remember a result; the summary on disk follows every few seconds."""
        self.found = replace(self.found, images=(*self.found.images, prediction))
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def refuse(self, why: str) -> None:
        """Remember an image that cannot be used."""
        self.found = replace(self.found, unreadable=(*self.found.unreadable, why))

    def forget_rest(self) -> None:
        """Forget an earlier call's results of images that this one, which is complete, was not given."""
        self._old = {}

    def save(self) -> None:
        """Write the summary, with an earlier call's results that were not reached yet."""
        self._saved_s = time.monotonic()
        done = {prediction.labels for prediction in self.found.images}
        rest = tuple(prediction for labels, prediction in self._old.items() if labels not in done)
        try:
            write_json(replace(self.found, images=(*self.found.images, *rest)), self.path / SUMMARY)
        except OSError as error:
            raise InputError(f"{self.path / SUMMARY}: cannot be written: {error.strerror}.") from None


def _difference(old: _Settings, new: _Settings) -> str:
    names = [name for name in _Settings.__slots__ if getattr(old, name) != getattr(new, name)]
    shown = [f"{name} {getattr(old, name)} (now {getattr(new, name)})" for name in names if name != "artifact_sha256"]
    return f"with {', '.join(shown)}" if shown else "with another conversion of the artifact"
