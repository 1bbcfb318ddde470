"""A data set that a net learns within seconds: red discs and green boxes on grey noise, 64x96."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("background", "disc", "box")
SIZE = (64, 96)
_COLOURS = ((40, 60, 220), (60, 200, 60))


def write_shapes(root: Path, *, classes: int = 3, training: int = 12, validation: int = 4) -> Path:
    """Write the data set into `root`, with the first `classes` of `CLASSES`, and return it."""
    random = np.random.default_rng(0)
    for split, count in (("train", training), ("val", validation)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            image, labels = _scene(random, classes)
            cv2.imwrite(str(root / "images" / split / f"{split}{index}.png"), image)
            cv2.imwrite(str(root / "labels" / split / f"{split}{index}.png"), labels)
    (root / "classes.txt").write_text("\n".join(CLASSES[:classes]) + "\n", encoding="utf-8")
    return root


def _scene(random: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    high, width = SIZE
    image = random.integers(60, 110, (high, width, 3)).astype(np.uint8)
    labels = np.zeros(SIZE, np.uint8)
    for label in range(1, classes):
        for _ in range(2):
            y, x = int(random.integers(12, high - 12)), int(random.integers(12, width - 12))
            mask = np.zeros(SIZE, np.uint8)
            if label == 1:
                cv2.circle(mask, (x, y), int(random.integers(8, 14)), 1, cv2.FILLED)
            else:
                cv2.rectangle(mask, (x - 10, y - 8), (x + 10, y + 8), 1, cv2.FILLED)
            image[mask > 0] = _COLOURS[label - 1]
            labels[mask > 0] = label
    noise = random.integers(-12, 12, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8), labels
