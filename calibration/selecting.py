"""Selection of calibration images: half at random, half to cover rare classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.calibration.doctor import Screening, check_count, check_sizes, unseen_classes
from edgeseg.calibration.fingerprint import preprocess_sha256, tensors_sha256
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

See = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps an input tensor to the float model's pixel count of each class, (classes,) integers."""

CANDIDATES_PER_IMAGE = 3
SELECTION = "random-half-rare-class-half"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSelection:
    """The selected input tensors in order, their description, and notes for the user."""

    tensors: tuple[NDArray[Any], ...]
    calibration: CalibrationSet
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    index: int
    size: tuple[int, int]
    class_pixels: NDArray[np.int64]


def select(
    source: CalibrationSource,
    *,
    spec: ModelSpec,
    tensor: TensorSpec,
    see: See,
    count: int = 64,
    seed: int = 0,
    skip_broken: bool = False,
    on_progress: Progress | None = None,
) -> CalibrationSelection:
    """Return `count` images of the source (fewer if it has fewer) as input tensors for `tensor`.

    Up to three candidates per image are drawn by `seed`; constant images and near-duplicates are skipped. The first
    half is taken as drawn; each further image is the candidate that adds most to the sum over classes of
    log(1 + pixels), a greedy cover of rare classes.

    Raises:
        InputError: a count below 1, or no usable image.
        DatasetError: images cannot be read (the message names every file) and `skip_broken` is off.
    """
    if count < 1:
        raise InputError(f"Calibration on {count} images is not possible; give 1 or more (64 is usual).")
    screening = Screening()
    broken: list[str] = []
    candidates = _candidates(
        source,
        spec=spec,
        tensor=tensor,
        see=see,
        count=count,
        seed=seed,
        screening=screening,
        broken=broken,
        on_progress=on_progress,
    )
    if broken and not (skip_broken and candidates):
        refuse([*broken, f"{len(broken)} images of {source.name} cannot be read. {OR_SKIP}"])
    if not candidates:
        raise InputError(f"{source.name}: no usable image. {' '.join(screening.findings())}")
    chosen = _cover(candidates, count=count)
    statistics = StatisticsMeter()
    tensors = tuple(_load(source, item.index, spec=spec, tensor=tensor, meter=statistics) for item in chosen)
    class_pixels = tuple(int(pixels) for pixels in np.sum([item.class_pixels for item in chosen], axis=0))
    calibration = CalibrationSet(
        source=source.name,
        split=source.split,
        item_ids=tuple(source.item_id(item.index) for item in chosen),
        selection=SELECTION,
        seed=seed,
        class_pixels=class_pixels,
        preprocess_sha256=preprocess_sha256(spec.preprocess),
        sha256=tensors_sha256(tensors),
        licence=source.licence,
        statistics=statistics.result(),
    )
    findings = (
        *(f"Left out: {fault}" for fault in broken),
        *screening.findings(),
        *check_count(len(chosen), wanted=count),
        *unseen_classes(class_pixels, classes=spec.classes),
        *check_sizes([item.size for item in chosen], input_size=tensor.size, preprocess=spec.preprocess),
    )
    return CalibrationSelection(tensors=tensors, calibration=calibration, findings=findings)


def _candidates(
    source: CalibrationSource,
    *,
    spec: ModelSpec,
    tensor: TensorSpec,
    see: See,
    count: int,
    seed: int,
    screening: Screening,
    broken: list[str],
    on_progress: Progress | None,
) -> list[_Candidate]:
    order = np.random.default_rng(seed).permutation(len(source))[: count * CANDIDATES_PER_IMAGE]
    found = []
    for done, index in enumerate(map(int, order), start=1):
        try:
            image = source.load_image(index)
        except DatasetError as error:
            broken.append(str(error))
            continue
        if screening.accepts(source.item_id(index), image):
            seen = see(prepare(image, preprocess=spec.preprocess, tensor=tensor))
            found.append(_Candidate(index=index, size=image.shape[:2], class_pixels=np.asarray(seen, np.int64)))
        if on_progress is not None:
            on_progress("calibrate", done, len(order))
    return found


def _cover(candidates: list[_Candidate], *, count: int) -> list[_Candidate]:
    chosen = candidates[: (count + 1) // 2]
    rest = candidates[len(chosen) :]
    total = np.sum([item.class_pixels for item in chosen], axis=0)
    while rest and len(chosen) < count:
        gains = [float(np.log1p(total + item.class_pixels).sum()) for item in rest]
        best = rest.pop(int(np.argmax(gains)))
        chosen.append(best)
        total = total + best.class_pixels
    return chosen


def _load(
    source: CalibrationSource, index: int, *, spec: ModelSpec, tensor: TensorSpec, meter: StatisticsMeter
) -> NDArray[Any]:
    image = source.load_image(index)
    meter.update(image)
    return prepare(image, preprocess=spec.preprocess, tensor=tensor)
