"""Fits a checkpoint's temperature on labelled images, and keeps it beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.calibration.temperature import fit_temperature, nll
from edgeseg.core.files import write_json
from edgeseg.core.temperature import TEMPERATURE_FILE, Temperature
from edgeseg.data import open_dataset
from edgeseg.errors import InputError
from edgeseg.export.reference import TorchReference
from edgeseg.metrics.calibration_error import calibration_error
from edgeseg.pixels import labels_of_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.core.progress import Progress

REFUSED = {
    "train": "the net was trained on these images and is overconfident on them",
    "test": "the test images could then no longer be used to judge it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A temperature and the file it was written to."""

    path: Path
    temperature: Temperature


def calibrate_temperature(
    model: str | Path | None,
    *,
    data: str | Path,
    split: str = "val",
    count: int = 64,
    out: Path | str | None = None,
    on_progress: Progress | None = None,
) -> Fitted:
    """Return the temperature of a model on `count` labelled images of `data`, written to `out` or beside the weights.

    Images are taken evenly over the split. Val is the recommended split: the net was not trained on it. It
    chose the best epoch, so the figures are slightly optimistic; use another labelled split if you have one.

    Raises:
        InputError: train or test images, fewer than two images, or a place that cannot be written.
        UnknownName, CheckpointError, DatasetError: a model or a data set that cannot be used.
    """
    from edgeseg.bench.accuracy import check_same_classes
    from edgeseg.models import load_checkpoint, resolve_model

    if split in REFUSED:
        raise InputError(f"A temperature is not fitted on {split} images: {REFUSED[split]}. Take --split val.")
    checkpoint = load_checkpoint(resolve_model(None if model is None else str(model)))
    dataset = open_dataset(str(data), split=split)
    check_same_classes(dataset, checkpoint.spec)
    if min(count, len(dataset)) < 2:
        raise InputError(f"{data}: a temperature needs at least two images, to be checked on held-out ones.")
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=int)
    reference, spec = TorchReference(checkpoint), checkpoint.spec
    answers = []
    for done, index in enumerate(chosen, start=1):
        sample = dataset.load(int(index))
        cells, grid = reference.cells(sample.image)
        truth = labels_of_cells(
            sample.labels, cells=grid, input_size=spec.size, preprocess=spec.preprocess, ignore=dataset.ignore_index
        )
        known = truth != dataset.ignore_index
        answers.append((cells[known], truth[known].astype(np.intp)))
        if on_progress is not None:
            on_progress("temperature", done, len(chosen))
    found = _fitted(answers, weights_sha256=spec.weights_sha256, data=dataset.name, split=split)
    path = checkpoint.folder / TEMPERATURE_FILE if out is None else Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(found, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another --out.") from None
    return Fitted(path=path, temperature=found)


def _fitted(answers: list[tuple[np.ndarray, np.ndarray]], *, weights_sha256: str, data: str, split: str) -> Temperature:
    # Halves in the order of the images: neighbours in a sequence are too similar to be in both halves.
    middle = (len(answers) + 1) // 2
    first, second = _joined(answers[:middle]), _joined(answers[middle:])
    halves = (fit_temperature(*first), fit_temperature(*second))
    held_out = ((first, halves[1]), (second, halves[0]))
    total = len(first[1]) + len(second[1])

    def mean(measure: Callable[..., float], *, scaled: bool) -> float:
        parts = [len(part[1]) * measure(*part, temperature=other if scaled else 1.0) for part, other in held_out]
        return round(sum(parts) / total, 5)

    fitted = round(fit_temperature(*_joined(answers)), 4)
    nll_before, nll_after = mean(nll, scaled=False), mean(nll, scaled=True)
    return Temperature(
        value=fitted if nll_after < nll_before else 1.0,
        fitted=fitted,
        weights_sha256=weights_sha256,
        data=data,
        split=split,
        images=len(answers),
        cells=total,
        halves=(round(halves[0], 4), round(halves[1], 4)),
        nll_before=nll_before,
        nll_after=nll_after,
        ece_before=mean(calibration_error, scaled=False),
        ece_after=mean(calibration_error, scaled=True),
    )


def _joined(answers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([logits for logits, _ in answers]), np.concatenate([labels for _, labels in answers])
