"""Class weights from how often each class occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeseg.data import Sample
    from edgeseg.train.recipe import LossRecipe

ENET_C = 1.02


def class_weights(
    recipe: LossRecipe, samples: Iterable[Sample], *, classes: tuple[str, ...], ignore_index: int
) -> np.ndarray | None:
    """Return the weight of each class, (C,) float32 with mean 1 over the training pixels, or None if they are off.

    "median-frequency": median(f) / f, where f is a class's share of the pixels of the images that show it (Eigen,
    Fergus, ICCV 2015, section 4.3.1). "enet": 1 / ln(1.02 + p), p the share of all pixels (Paszke et al., ENet, 2016,
    section 5.2). A class that never occurs has weight 0. `class_weight_power` is the exponent applied to the weights.

    Raises:
        RecipeError: the recipe's weights do not match the number of classes, or one is below 0.
    """
    if recipe.class_weights == "none":
        return None
    if isinstance(recipe.class_weights, tuple):
        return _given(recipe.class_weights, classes)
    pixels, shown = _count(samples, classes=len(classes), ignore_index=ignore_index)
    rule = _median_frequency if recipe.class_weights == "median-frequency" else _enet
    weights = rule(pixels, shown) ** recipe.class_weight_power
    weights[pixels == 0] = 0.0
    return (weights * pixels.sum() / max(float((weights * pixels).sum()), 1e-12)).astype(np.float32)


def _given(weights: tuple[float, ...], classes: tuple[str, ...]) -> np.ndarray:
    if len(weights) != len(classes) or min(weights) < 0 or max(weights) <= 0:
        raise RecipeError(
            f"loss.class_weights has {len(weights)} values for {len(classes)} classes ({', '.join(classes)}); "
            "give one for each, 0 or more."
        )
    return np.array(weights, np.float32)


def _count(samples: Iterable[Sample], *, classes: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of each class, and the valid pixels of the images that contain it, both (C,) float64."""
    pixels, shown = np.zeros(classes), np.zeros(classes)
    for sample in samples:
        found = np.bincount(sample.labels[sample.labels != ignore_index], minlength=classes)[:classes]
        pixels += found
        shown += (found > 0) * found.sum()
    return pixels, shown


def _median_frequency(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    frequency = pixels / np.maximum(shown, 1)
    present = frequency[pixels > 0]
    return np.median(present) / np.where(pixels > 0, frequency, 1.0) if len(present) else np.ones_like(pixels)


def _enet(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    return 1.0 / np.log(ENET_C + pixels / max(float(pixels.sum()), 1.0))
