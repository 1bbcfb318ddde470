"""The calibration doctor: problems of calibration images, each with advice on how to fix it.

Images are screened one by one as they are drawn; what was chosen is then examined as a whole
(`edgeseg.calibration.examination`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from edgeseg.calibration.finding import CalibrationFinding
from edgeseg.calibration.fingerprint import ImageFingerprint, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.core.spec import Preprocess

FEWEST = 32
# Standard deviation in grey levels; below it: a lens cap, a fade to black, an empty frame.
CONSTANT_DEVIATION = 3.0
# Of 240 bits. Two consecutive frames of a static camera differ in fewer.
DUPLICATE_BITS = 4
# Grey levels in any cell of a 32 x 32 thumbnail. Consecutive frames, noise and compression change a cell by less; a
# small thing at another place, such as a defect on an even surface, changes it by more and most often no bit at all.
DUPLICATE_LEVELS = 20
# Up to here they are the same whatever the bits say: compression turns those of even areas, such as a sky.
RECOMPRESSED_LEVELS = 5
# Images that were divided by 255 and stored as bytes hold 0 and 1.
SCALED_ALREADY = 2
STRETCH = 1.25
STILL_GROWING = 0.95


class Screening:
    """Screens images one by one, and refuses constant ones and near-duplicates of earlier ones."""

    def __init__(self) -> None:
        self.constant: list[str] = []
        self.duplicates: list[tuple[str, str]] = []
        self._kept: list[tuple[str, ImageFingerprint]] = []
        self._darkest = 0

    def accepts(self, name: str, image: NDArray[np.uint8]) -> ImageFingerprint | None:
        """Return the fingerprint of a useful image (H, W, 3) uint8 BGR; None for a refused one: see `findings`."""
        if float(cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[1][0, 0]) < CONSTANT_DEVIATION:
            self.constant.append(name)
            self._darkest = max(self._darkest, int(image.max()))
            return None
        found = fingerprint(image)
        for earlier, other in self._kept:
            if near(found, other):
                self.duplicates.append((name, earlier))
                return None
        self._kept.append((name, found))
        return found

    def findings(self) -> tuple[CalibrationFinding, ...]:
        """Return one finding about constant images and one about near-duplicates, if there were any."""
        found = []
        if self.constant:
            text = f"{count_of(self.constant)} of one colour and left out, first {self.constant[0]}. Remove them."
            if not self._kept and self._darkest <= SCALED_ALREADY:
                text = (
                    f"{count_of(self.constant)} almost black, first {self.constant[0]}, with no value above "
                    f"{self._darkest} of 255: they were scaled before they were stored. Store them as 0 to 255."
                )
            found.append(CalibrationFinding(kind="constant", text=text))
        if self.duplicates:
            copy, original = self.duplicates[0]
            text = (
                f"{count_of(self.duplicates)} left out as near-duplicates, first {copy} (as {original}). "
                "Take frames further apart."
            )
            found.append(CalibrationFinding(kind="near-duplicate", text=text))
        return tuple(found)


def near(image: ImageFingerprint, other: ImageFingerprint) -> bool:
    """Return whether two fingerprints are those of near-duplicates."""
    levels = image.levels_apart(other)
    return levels <= RECOMPRESSED_LEVELS or (levels <= DUPLICATE_LEVELS and image.bits_apart(other) <= DUPLICATE_BITS)


def check_count(found: int, *, wanted: int) -> tuple[CalibrationFinding, ...]:
    """Return a finding if there are fewer images than wanted, or too few for reliable ranges."""
    if found >= max(FEWEST, 1) or found >= wanted >= FEWEST:
        return ()
    few = f"{found} image{' is' if found == 1 else 's are'} few"
    text = f"{few}: ranges may miss the values of rare scenes. Give at least {FEWEST}."
    return (CalibrationFinding(kind="few", text=text),)


def unseen_classes(class_pixels: Sequence[int], *, classes: Sequence[str]) -> tuple[CalibrationFinding, ...]:
    """Return a finding that names the classes that the float model found in no image."""
    missing = [name for name, pixels in zip(classes, class_pixels, strict=True) if pixels == 0]
    if not missing:
        return ()
    text = f"The model saw no {', '.join(missing)}: add images that show {'it' if len(missing) == 1 else 'them'}."
    return (CalibrationFinding(kind="missing-class", text=text),)


def check_sizes(
    sizes: Sequence[tuple[int, int]], *, input_size: tuple[int, int], preprocess: Preprocess
) -> tuple[CalibrationFinding, ...]:
    """Return findings about images (height, width) that are far smaller than the input, or of another aspect ratio."""
    found = []
    small = [size for size in sizes if size[0] * 2 < input_size[0] or size[1] * 2 < input_size[1]]
    height, width = input_size
    if small:
        text = (
            f"{count_of(small)} less than half the input's {height}x{width}, first {small[0][0]}x{small[0][1]}: "
            "enlarged, they lack fine detail. Give images of the camera's size."
        )
        found.append(CalibrationFinding(kind="small", text=text))
    squeezed = [size for size in sizes if not 1 / STRETCH <= (size[1] / size[0]) / (width / height) <= STRETCH]
    if squeezed and preprocess.resize == "stretch":
        text = (
            f"{count_of(squeezed)} of another aspect ratio than the input's {height}x{width}, first "
            f"{squeezed[0][0]}x{squeezed[0][1]}: stretching distorts them. Convert with a --size of the camera's "
            "aspect ratio, or give images of the input's."
        )
        found.append(CalibrationFinding(kind="aspect", text=text))
    return tuple(found)


def check_curve(curve: Sequence[tuple[int, float]]) -> tuple[CalibrationFinding, ...]:
    """Return a finding if the ranges still grew much from half of the images to all; `curve` as `Calibrated` has it."""
    if len(curve) < 2 or curve[-2][1] >= STILL_GROWING:
        return ()
    (half, width), (total, _) = curve[-2:]
    text = (
        f"{total} images are few: with {half} of them the ranges have {width:.0%} of their width, so they still grow. "
        f"Give {2 * total} or more."
    )
    return (CalibrationFinding(kind="few", text=text),)


def count_of(items: Sequence[object]) -> str:
    """Return "1 image is" or "N images are"."""
    return "1 image is" if len(items) == 1 else f"{len(items)} images are"
