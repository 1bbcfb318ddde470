"""The images for the proof: the user's, else images that were not used for calibration, else the checkpoint's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.models.checkpoint import PROOF_FOLDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.calibration import CalibrationSource
    from edgeseg.core.quantization import CalibrationSet

PROOF_IMAGES = 4
LABELLED_IMAGES = 16
STREETS = "streets"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofImages:
    """Images (H, W, 3) uint8 BGR, their source and its licence.

    `truths` are the label maps (H, W) of the images, or empty. Without `in_domain` the images may differ from those
    that the net was trained on. `warning` says that, or why labels that `data` has do not count.
    """

    images: tuple[NDArray[np.uint8], ...]
    source: str
    licence: str = ""
    truths: tuple[NDArray[np.uint8], ...] = ()
    in_domain: bool = True
    warning: str = ""


def proof_images(
    *,
    data: str | None,
    calibration: str | None,
    calibrated_on: CalibrationSet | None,
    trained_on: str,
    classes: tuple[str, ...] = (),
    checkpoint: Path | None = None,
    allow_held_out: bool = False,
) -> ProofImages:
    """Return images that were not used for calibration: `PROOF_IMAGES`, or `LABELLED_IMAGES` with ground truth.

    They come from `data` (with its labels, where it is a data set of the net's `classes`), else from the images of
    `calibration` that are not in `calibrated_on`, else from the folder `proof` of the `checkpoint`, else they are
    rendered streets: out of domain unless `trained_on` names streets.

    Raises:
        InputError, DatasetError: `data` or `calibration` has no images, or one cannot be read.
    """
    from edgeseg.calibration import open_source

    labelled = _labelled(data, classes=classes) if data is not None and classes else ""
    if isinstance(labelled, ProofImages):
        return labelled
    used = frozenset(calibrated_on.item_ids) if calibrated_on is not None else frozenset()
    for text, allowed in ((data, True), (calibration, allow_held_out)):
        if text is None or (text.split(":", maxsplit=1)[0] == STREETS):
            continue
        source = open_source(_held_out(text) if text is data else text, allow_held_out=allowed)
        same = calibrated_on is not None and calibrated_on.source == source.name
        found = _spread(source, without=used if same else frozenset())
        if found:
            warning = labelled if text is data else ""
            return ProofImages(images=found, source=source.name, licence=source.licence, warning=warning)
    own = None if checkpoint is None else checkpoint / PROOF_FOLDER
    if own is not None and own.is_dir() and all(_is_real(text) for text in (data, calibration)):
        found = _spread(open_source(str(own), allow_held_out=True), without=frozenset())
        return ProofImages(images=found, source="the checkpoint's own")
    return _streets(trained_on=trained_on, seen=(data, calibration))


def check_data(data: str) -> None:
    """Raise `InputError` or `DatasetError` if `data` has no images to prove on; reads names only."""
    from edgeseg.calibration import open_source

    open_source(_held_out(data), allow_held_out=True)


def _is_real(text: str | None) -> bool:
    return text is None or text.split(":", maxsplit=1)[0] != STREETS


def _labelled(data: str, *, classes: tuple[str, ...]) -> ProofImages | str:
    """Return val or test images with their labels, or why a data set's do not count; "" for images without labels."""
    from edgeseg.data import open_dataset
    from edgeseg.errors import EdgesegError

    problem = ""
    for split in ("val", "test"):
        try:
            dataset = open_dataset(data, split=split)
        except EdgesegError as error:
            problem = problem or str(error).splitlines()[0]
            continue  # a folder of images without labels, or without this split
        if dataset.classes != classes:
            return (
                f"The labels of {data} do not count: its {len(dataset.classes)} classes are not the net's "
                f"{len(classes)}, or in another order. Only its images are used."
            )
        if len(dataset) == 0:
            return ""
        count = min(LABELLED_IMAGES, len(dataset))
        samples = [dataset.load(int(index)) for index in np.linspace(0, len(dataset) - 1, count, dtype=int)]
        return ProofImages(
            images=tuple(np.asarray(sample.image, np.uint8) for sample in samples),
            truths=tuple(np.asarray(sample.labels, np.uint8) for sample in samples),
            source=f"{dataset.name} {split}",
            licence=dataset.licence,
        )
    said = Path(data).suffix == ".toml" or any(
        (Path(data) / name).is_file() for name in ("dataset.toml", "classes.txt")
    )
    return f"The labels of {data} do not count: {problem}" if said else ""


def _held_out(data: str) -> str:
    """Return the val or test images of a data set's folder, because the net may have seen its train images."""
    for split in ("val", "test"):
        folder = Path(data) / "images" / split
        if folder.is_dir():
            return str(folder)
    return data


def _spread(source: CalibrationSource, *, without: frozenset[str]) -> tuple[NDArray[np.uint8], ...]:
    free = [index for index in range(len(source)) if source.item_id(index) not in without]
    places = np.unique(np.linspace(0, len(free) - 1, min(PROOF_IMAGES, len(free)), dtype=int)) if free else ()
    return tuple(np.asarray(source.load_image(free[place]), np.uint8) for place in places)


def _streets(*, trained_on: str, seen: tuple[str | None, ...]) -> ProofImages:
    from edgeseg.data import StreetsDataset

    # Calibration renders streets of the train split: these are others.
    streets = StreetsDataset(split="test", count=PROOF_IMAGES)
    images = tuple(np.asarray(streets.load(index).image, np.uint8) for index in range(len(streets)))
    own = trained_on.startswith(STREETS) or any(not _is_real(text) for text in seen)
    warning = (
        ""
        if own
        else "Proven on rendered streets, which this net was not trained on: only labels that it is sure of count. "
        "Give your own images: --data DIR."
    )
    return ProofImages(
        images=images, source="rendered streets", licence=streets.licence, in_domain=own, warning=warning
    )
