"""The images for the proof: the user's, else images that were not used for calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.calibration import CalibrationSource
    from edgeseg.core.quantization import CalibrationSet

PROOF_IMAGES = 4
STREETS = "streets"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofImages:
    """Images (H, W, 3) uint8 BGR, their source, and a warning if they may differ from those in use."""

    images: tuple[NDArray[np.uint8], ...]
    source: str
    warning: str = ""


def proof_images(
    *,
    data: str | None,
    calibration: str | None,
    calibrated_on: CalibrationSet | None,
    trained_on: str,
    allow_held_out: bool = False,
) -> ProofImages:
    """Return up to `PROOF_IMAGES` images that were not used for calibration.

    They come from `data`, else from the images of `calibration` that are not in `calibrated_on`, else they are rendered
    streets, with a warning unless `trained_on` names streets.

    Raises:
        InputError, DatasetError: `data` or `calibration` has no images, or one cannot be read.
    """
    from edgeseg.calibration import open_source

    used = frozenset(calibrated_on.item_ids) if calibrated_on is not None else frozenset()
    for text, allowed in ((data, True), (calibration, allow_held_out)):
        if text is None or (text.split(":", maxsplit=1)[0] == STREETS):
            continue
        source = open_source(_held_out(text) if text is data else text, allow_held_out=allowed)
        same = calibrated_on is not None and calibrated_on.source == source.name
        found = _spread(source, without=used if same else frozenset())
        if found:
            return ProofImages(images=found, source=f"{len(found)} images of {source.name}")
    return _streets(trained_on=trained_on, seen=(data, calibration))


def check_data(data: str) -> None:
    """Raise `InputError` or `DatasetError` if `data` has no images to prove on; reads names only."""
    from edgeseg.calibration import open_source

    open_source(_held_out(data), allow_held_out=True)


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
    asked = any(text is not None and text.startswith(STREETS) for text in seen)
    warning = (
        ""
        if asked or trained_on.startswith(STREETS)
        else "Proven on rendered streets, which this net was not trained on. Give your own images: --data DIR."
    )
    return ProofImages(images=images, source=f"{len(images)} rendered streets", warning=warning)
