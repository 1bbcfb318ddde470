"""Segmentation quality of any segmenter on a labelled data set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from edgeseg.core.measurement import Accuracy
from edgeseg.core.spec import ModelSpec, TensorSpec
from edgeseg.data.identity import identity
from edgeseg.data.subset import Subset
from edgeseg.errors import InputError
from edgeseg.metrics import MetricSet, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.progress import Progress
    from edgeseg.data import Dataset

_log = logging.getLogger(__name__)


class Segmenter(Protocol):
    """Image (H, W, 3) BGR uint8 in, class ids (H, W) uint8 out: a runtime session, or a wrapped net.

    Its classes are in `spec`, or in `artifact.manifest.spec` as in a session.
    """

    def segment(self, image: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """Return class ids (H, W) uint8 of an image (H, W, 3) BGR uint8."""


@runtime_checkable
class StepwiseSegmenter(Protocol):
    """A segmenter whose output is accessible before decoding, such as a runtime session: its logits can be scored."""

    @property
    def output(self) -> TensorSpec:
        """What `infer` returns."""

    def preprocess(self, image: NDArray[np.uint8]) -> np.ndarray:
        """Return the input tensor of an image (H, W, 3) BGR uint8."""

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for an input tensor."""

    def decode(self, output: np.ndarray, *, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return class ids (H, W) uint8 at `size` (height, width) from an output."""


def measure_accuracy(
    session: Segmenter, dataset: Dataset, *, limit: int | None = None, on_progress: Progress | None = None
) -> Accuracy:
    """Return every installed metric on the first `limit` images (all by default), each scored at its own size.

    Raises:
        InputError: the data set's classes are not the model's, it is empty, or no pixel of it is labelled.
        DatasetError: an image that cannot be used.
    """
    spec = spec_of(session)
    check_same_classes(dataset, spec)
    total = image_count(dataset, limit=limit)
    metrics = MetricSet(spec.classes, ignore_index=dataset.ignore_index)
    labelled = False
    for index in range(total):
        sample = dataset.load(index)
        metrics.update(
            _predict(session, sample.image, sample.labels, spec=spec, ignore=dataset.ignore_index), sample.labels
        )
        labelled = labelled or bool((sample.labels != dataset.ignore_index).any())
        if on_progress is not None:
            on_progress("validate", index + 1, total)
    if not labelled:
        raise InputError(
            f"{dataset.name} {dataset.split}: every pixel of {total} label maps is ignored; there is nothing to score."
        )
    for fault in metrics.faults:
        _log.error("%s", fault)
    used = dataset if total == len(dataset) else Subset(whole=dataset, indices=tuple(range(total)), split=dataset.split)
    return Accuracy(
        data=dataset.name,
        data_sha256=identity(used).sha256,
        split=dataset.split,
        images=total,
        metrics=metrics.compute(),
    )


def _predict(
    session: Segmenter, image: NDArray[np.uint8], labels: NDArray[np.uint8], *, spec: ModelSpec, ignore: int
) -> Prediction:
    if not isinstance(session, StepwiseSegmenter) or session.output.role != "logits":
        return Prediction(labels=session.segment(image), image=image)
    from edgeseg.pixels import labels_of_cells, real_logits

    output = session.infer(session.preprocess(image))
    decoded = session.decode(output, size=(image.shape[0], image.shape[1]))
    logits = real_logits(output, session.output)[0]
    cells = labels_of_cells(
        labels, cells=logits.shape[:2], input_size=spec.size, preprocess=spec.preprocess, ignore=ignore
    ).astype(np.intp)
    known = cells != ignore
    scaled = logits.reshape(-1, logits.shape[-1])[known] / np.float32(_temperature(session))
    return Prediction(labels=decoded, image=image, logits=scaled, cell_labels=cells[known])


def _temperature(session: object) -> float:
    manifest = getattr(getattr(session, "artifact", None), "manifest", None)
    fitted = getattr(manifest, "temperature", None)
    return float(fitted.value) if fitted is not None else 1.0


def spec_of(session: object) -> ModelSpec:
    """Return the model spec of a session or of an object with a `spec`; raises `InputError` for anything else."""
    manifest = getattr(getattr(session, "artifact", None), "manifest", None)
    spec = getattr(manifest, "spec", None) or getattr(session, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise InputError(f"{type(session).__name__} has no classes: give a session, or an object with .spec.")
    return spec


def image_count(dataset: Dataset, *, limit: int | None) -> int:
    """Return how many images to use; raises `InputError` for a limit below 1 or an empty data set."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give 1 or more, or leave it out for all images.")
    total = len(dataset) if limit is None else min(limit, len(dataset))
    if total == 0:
        raise InputError(f"{dataset.name}: the split {dataset.split} has no images.")
    return total


def check_same_classes(dataset: Dataset, spec: ModelSpec) -> None:
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
