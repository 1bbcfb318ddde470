"""Problems of calibration images, each with advice on how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.calibration.fingerprint import difference_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeseg.core.spec import Preprocess

FEWEST = 32
# Standard deviation in grey levels; below it: a lens cap, a fade to black, an empty frame.
CONSTANT_DEVIATION = 3.0
# Of 240 bits. Two consecutive frames of a static camera differ in fewer.
DUPLICATE_BITS = 4
STRETCH = 1.25


class Screening:
    """Screens images one by one, and refuses constant ones and near-duplicates of earlier ones."""

    def __init__(self) -> None:
        self.constant: list[str] = []
        self.duplicates: list[tuple[str, str]] = []
        self._hashes: list[tuple[str, NDArray[np.bool_]]] = []

    def accepts(self, name: str, image: NDArray[np.uint8]) -> bool:
        """Return whether the image (H, W, 3) uint8 BGR is useful; refused images are listed in `findings`."""
        if float(cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[1][0, 0]) < CONSTANT_DEVIATION:
            self.constant.append(name)
            return False
        bits = difference_hash(image)
        for earlier, other in self._hashes:
            if int(np.count_nonzero(bits != other)) <= DUPLICATE_BITS:
                self.duplicates.append((name, earlier))
                return False
        self._hashes.append((name, bits))
        return True

    def findings(self) -> tuple[str, ...]:
        """Return one line about constant images and one about near-duplicates, if there were any."""
        lines = []
        if self.constant:
            lines.append(f"{_count(self.constant)} of one colour and left out, first {self.constant[0]}. Remove them.")
        if self.duplicates:
            copy, original = self.duplicates[0]
            lines.append(
                f"{_count(self.duplicates)} left out as near-duplicates, first {copy} (as {original}). "
                "Take frames further apart."
            )
        return tuple(lines)


def check_count(found: int, *, wanted: int) -> tuple[str, ...]:
    """Return a line if there are fewer images than wanted, or too few for reliable ranges."""
    if found >= max(FEWEST, 1) or found >= wanted >= FEWEST:
        return ()
    return (f"{found} images are few: ranges may miss the values of rare scenes. Give at least {FEWEST}.",)


def unseen_classes(class_pixels: Sequence[int], *, classes: Sequence[str]) -> tuple[str, ...]:
    """Return a line that names the classes that the float model found in no image."""
    missing = [name for name, pixels in zip(classes, class_pixels, strict=True) if pixels == 0]
    if not missing:
        return ()
    return (f"The model saw no {', '.join(missing)}: add images that show {'it' if len(missing) == 1 else 'them'}.",)


def check_sizes(
    sizes: Sequence[tuple[int, int]], *, input_size: tuple[int, int], preprocess: Preprocess
) -> tuple[str, ...]:
    """Return lines about images (height, width) that are far smaller than the input, or of another aspect ratio."""
    lines = []
    small = [size for size in sizes if size[0] * 2 < input_size[0] or size[1] * 2 < input_size[1]]
    height, width = input_size
    if small:
        lines.append(
            f"{_count(small)} less than half the input's {height}x{width}, first {small[0][0]}x{small[0][1]}: "
            "enlarged, they lack fine detail. Give images of the camera's size."
        )
    squeezed = [size for size in sizes if not 1 / STRETCH <= (size[1] / size[0]) / (width / height) <= STRETCH]
    if squeezed and preprocess.resize == "stretch":
        lines.append(
            f"{_count(squeezed)} of another aspect ratio than the input's {height}x{width}, first "
            f"{squeezed[0][0]}x{squeezed[0][1]}: stretching distorts them. Choose a --size of the camera's aspect "
            "ratio."
        )
    return tuple(lines)


def _count(items: Sequence[object]) -> str:
    return "1 image is" if len(items) == 1 else f"{len(items)} images are"
