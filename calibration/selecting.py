"""Selection of calibration images: candidates are drawn and screened, a registered kind takes some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.calibration.cache import NO_CACHE, ContentCache
from edgeseg.calibration.doctor import Screening, check_count, check_sizes, unseen_classes
from edgeseg.calibration.finding import CalibrationFinding
from edgeseg.calibration.fingerprint import ImageFingerprint, preprocess_sha256, tensors_sha256
from edgeseg.calibration.selections import SeenImage, SelectionKind
from edgeseg.calibration.stored import StoredTensors
from edgeseg.core import registry
from edgeseg.core.quantization import CalibrationSet
from edgeseg.data.label_check import OR_SKIP
from edgeseg.data.paths import refuse
from edgeseg.errors import DatasetError, InputError
from edgeseg.pixels import prepare
from edgeseg.pixels.statistics import StatisticsMeter

if TYPE_CHECKING:
    from edgeseg.calibration.sources import CalibrationSource
    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec, TensorSpec

See = Callable[[NDArray[Any]], SeenImage]
"""Maps an input tensor to what the float model makes of it."""

CANDIDATES_PER_IMAGE = 3
DEFAULT_SELECTION = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSelection:
    """The selected input tensors in order, their description, what the model made of them, and findings for the user.

    `fingerprints` are those of the images as they were read.
    """

    tensors: Sequence[NDArray[Any]]
    calibration: CalibrationSet
    seen: tuple[SeenImage, ...]
    fingerprints: tuple[ImageFingerprint, ...]
    findings: tuple[CalibrationFinding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    index: int
    size: tuple[int, int]
    fingerprint: ImageFingerprint
    seen: SeenImage


def selection_kind(name: str) -> SelectionKind:
    """Return a registered selection kind; raises `UnknownName` with the nearest one."""
    return registry.load_as("selections", name, SelectionKind)  # type: ignore[type-abstract]


def select(
    source: CalibrationSource,
    *,
    spec: ModelSpec,
    tensor: TensorSpec,
    see: See,
    count: int = 64,
    seed: int = 0,
    kind: str = DEFAULT_SELECTION,
    skip_broken: bool = False,
    known: ContentCache | None = None,
    on_progress: Progress | None = None,
) -> CalibrationSelection:
    """Return `count` images of the source (fewer if it has fewer) as input tensors for `tensor`.

    Up to three candidates per image are drawn by `seed`; constant images and near-duplicates are skipped. The selection
    of that `kind` (entry points `edgeseg.selections`) takes `count` of them. What `known` holds of a candidate is not
    asked of `see` again.

    Raises:
        InputError: a count below 1, or no usable image.
        UnknownName: no such selection.
        DatasetError: images cannot be read (the message names every file) and `skip_broken` is off.
    """
    if count < 1:
        raise InputError(f"Calibration on {count} images is not possible; give 1 or more (64 is usual).")
    selection = selection_kind(kind)
    draw = _Draw(
        source=source,
        spec=spec,
        tensor=tensor,
        see=see,
        known=NO_CACHE.of("seen") if known is None else known,
        screening=Screening(),
        broken=[],
    )
    candidates = draw.candidates(count=count, wanted=count * selection.candidates, seed=seed, on_progress=on_progress)
    if draw.broken and not (skip_broken and candidates):
        refuse([*draw.broken, f"{len(draw.broken)} images of {source.name} cannot be read. {OR_SKIP}"])
    if not candidates:
        raise InputError(f"{source.name}: no usable image. {' '.join(map(str, draw.screening.findings()))}")
    places = selection.choose([item.seen for item in candidates], count=count)
    chosen = [candidates[place] for place in places]
    statistics = StatisticsMeter()
    tensors = StoredTensors(_load(source, item.index, spec=spec, tensor=tensor, meter=statistics) for item in chosen)
    class_pixels = tuple(int(pixels) for pixels in np.sum([item.seen.class_pixels for item in chosen], axis=0))
    calibration = CalibrationSet(
        source=source.name,
        split=source.split,
        item_ids=tuple(source.item_id(item.index) for item in chosen),
        selection=selection.identity,
        seed=seed,
        class_pixels=class_pixels,
        preprocess_sha256=preprocess_sha256(spec.preprocess),
        sha256=tensors_sha256(tensors),
        licence=source.licence,
        statistics=statistics.result(),
    )
    findings = (
        *(CalibrationFinding(kind="unreadable", text=f"Left out: {fault}") for fault in draw.broken),
        *draw.screening.findings(),
        *check_count(len(chosen), wanted=count),
        *unseen_classes(class_pixels, classes=spec.classes),
        *check_sizes([item.size for item in chosen], input_size=tensor.size, preprocess=spec.preprocess),
    )
    return CalibrationSelection(
        tensors=tensors,
        calibration=calibration,
        seen=tuple(item.seen for item in chosen),
        fingerprints=tuple(item.fingerprint for item in chosen),
        findings=findings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """What candidates are drawn with."""

    source: CalibrationSource
    spec: ModelSpec
    tensor: TensorSpec
    see: See
    known: ContentCache
    screening: Screening
    broken: list[str]

    def candidates(self, *, count: int, wanted: int, seed: int, on_progress: Progress | None) -> list[_Candidate]:
        """Return up to `wanted` candidates among the first `count` x 3 images of the draw."""
        source = self.source
        order = np.random.default_rng(seed).permutation(len(source))[: count * CANDIDATES_PER_IMAGE]
        found: list[_Candidate] = []
        for done, index in enumerate(map(int, order), start=1):
            if len(found) == wanted:
                break
            try:
                image = source.load_image(index)
            except DatasetError as error:
                self.broken.append(str(error))
                continue
            if (known_by := self.screening.accepts(source.item_id(index), image)) is not None:
                seen = self._seen(prepare(image, preprocess=self.spec.preprocess, tensor=self.tensor))
                found.append(_Candidate(index=index, size=image.shape[:2], fingerprint=known_by, seen=seen))
            if on_progress is not None:
                on_progress("calibrate", done, len(order))
        return found

    def _seen(self, tensor: NDArray[Any]) -> SeenImage:
        key = tensor_sha256(tensor)
        record = self.known.get(key)
        if record is not None:
            return SeenImage(
                class_pixels=np.array(record["class_pixels"], np.int64),
                probabilities=np.array(record["probabilities"]),
                features=np.array(record["features"]),
                entropy=float(record["entropy"]),
            )
        seen = self.see(tensor)
        value = {name: getattr(seen, name).tolist() for name in ("class_pixels", "probabilities", "features")}
        self.known.put(key, {**value, "entropy": seen.entropy})
        return seen


def tensor_sha256(tensor: NDArray[Any]) -> str:
    """Return the hash of one tensor's content, shape and type."""
    digest = hashlib.sha256(f"{tensor.dtype}{tensor.shape}".encode())
    digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _load(
    source: CalibrationSource, index: int, *, spec: ModelSpec, tensor: TensorSpec, meter: StatisticsMeter
) -> NDArray[Any]:
    image = source.load_image(index)
    meter.update(image)
    return prepare(image, preprocess=spec.preprocess, tensor=tensor)
