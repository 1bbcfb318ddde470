"""Segmentation quality of anything that segments, on a labelled data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeseg.bench.boundary import BoundaryF1
from edgeseg.core.confusion import ConfusionMatrix
from edgeseg.core.measurement import Accuracy
from edgeseg.core.spec import ModelSpec
from edgeseg.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from edgeseg.core.progress import Progress
    from edgeseg.data import Dataset


class Segmenter(Protocol):
    """Image (H, W, 3) BGR uint8 in, class ids (H, W) uint8 out: a runtime session, or a net that was wrapped.

    It says what its classes are by `spec`, or by `artifact.manifest.spec` as a session does.
    """

    def segment(self, image: np.ndarray, /) -> np.ndarray: ...


def validate(
    session: Segmenter, dataset: Dataset, *, limit: int | None = None, on_progress: Progress | None = None
) -> Accuracy:
    """Return the accuracy on the first `limit` images (all by default), each scored at its own size.

    Raises:
        InputError: the data set's classes are not the model's, it is empty, or no pixel of it is labelled.
        DatasetError: an image that cannot be used.
    """
    spec = spec_of(session)
    check_classes(dataset, spec)
    total = image_count(dataset, limit=limit)
    confusion = ConfusionMatrix(len(spec.classes), ignore_index=dataset.ignore_index)
    boundary = BoundaryF1(len(spec.classes), ignore_index=dataset.ignore_index)
    for index in range(total):
        sample = dataset.load(index)
        predicted = session.segment(sample.image)
        confusion.update(predicted, sample.labels)
        boundary.update(predicted, sample.labels)
        if on_progress is not None:
            on_progress("validate", index + 1, total)
    if not confusion.pixels:
        raise InputError(
            f"{dataset.name} {dataset.split}: every pixel of {total} label maps is ignored; none to score."
        )
    return _accuracy(confusion, boundary, dataset=dataset, classes=spec.classes, images=total)


def spec_of(session: object) -> ModelSpec:
    """Return the model spec of a session or of anything that carries a `spec`; raises `InputError` where neither is."""
    manifest = getattr(getattr(session, "artifact", None), "manifest", None)
    spec = getattr(manifest, "spec", None) or getattr(session, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise InputError(f"{type(session).__name__} does not say its classes: give a session, or an object with .spec.")
    return spec


def image_count(dataset: Dataset, *, limit: int | None) -> int:
    """Return how many images to use; raises `InputError` for a limit below 1 or an empty data set."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give 1 or more, or leave it out for all images.")
    total = len(dataset) if limit is None else min(limit, len(dataset))
    if total == 0:
        raise InputError(f"{dataset.name}: the split {dataset.split} has no images.")
    return total


def check_classes(dataset: Dataset, spec: ModelSpec) -> None:
    """Raise `InputError` unless both have the same class names, whatever their case, in the same order."""
    ours, theirs = _folded(spec.classes), _folded(dataset.classes)
    if ours == theirs:
        return
    raise InputError(
        f"{dataset.name} and {spec.name} do not have the same classes: {_difference(ours, theirs)} "
        f"Model ({len(ours)}): {', '.join(spec.classes)}. Data ({len(theirs)}): {', '.join(dataset.classes)}. "
        "Use data labelled with the model's classes, or a model trained on these."
    )


def _difference(ours: list[str], theirs: list[str]) -> str:
    missing, extra = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    if not missing and not extra:
        first = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
        return f"the same names in another order, from index {first} on."
    parts = [f"only the model has {', '.join(missing)}" if missing else ""]
    parts.append(f"only the data has {', '.join(extra)}" if extra else "")
    return "; ".join(part for part in parts if part) + "."


def _folded(names: tuple[str, ...]) -> list[str]:
    return [name.strip().casefold().replace("_", " ").replace("-", " ") for name in names]


def _accuracy(
    confusion: ConfusionMatrix, boundary: BoundaryF1, *, dataset: Dataset, classes: tuple[str, ...], images: int
) -> Accuracy:
    return Accuracy(
        data=dataset.name,
        split=dataset.split,
        images=images,
        miou=confusion.miou(),
        pixel_accuracy=confusion.pixel_accuracy(),
        mean_dice=confusion.mean_dice(),
        boundary_f1=boundary.mean(),
        per_class_iou=dict(zip(classes, confusion.per_class_iou(), strict=True)),
        per_class_dice=dict(zip(classes, confusion.per_class_dice(), strict=True)),
    )
