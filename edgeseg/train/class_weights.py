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

    "inverse": 1 / p, p a class's share of all n pixels. "median-frequency": median(f) / f, where f is its share of the
    pixels of the images that show it (Eigen, Fergus, ICCV 2015, section 4.3.1). "enet", the logarithmic rule:
    1 / ln(1.02 + p) (Paszke et al., ENet, 2016, section 5.2). "effective-number": (1 - b) / (1 - b^(p n)) with
    b = 1 - 1 / n (Cui et al., CVPR 2019, section 3). A class that never occurs has weight 0. `class_weight_power` is
    the exponent applied to the weights; then none is more than `class_weight_limit` times the smallest.

    Raises:
        RecipeError: the recipe's weights do not match the number of classes, or one is below 0.
    """
    if recipe.class_weights == "none":
        return None
    if isinstance(recipe.class_weights, tuple):
        return _given(recipe.class_weights, classes)
    pixels, shown = _count(samples, classes=len(classes), ignore_index=ignore_index)
    weights = _RULES[recipe.class_weights](pixels, shown) ** recipe.class_weight_power
    present = pixels > 0
    if present.any():
        weights = np.minimum(weights, recipe.class_weight_limit * weights[present].min())
    weights[~present] = 0.0
    scaled: np.ndarray = weights * pixels.sum() / max(float((weights * pixels).sum()), 1e-12)
    return scaled.astype(np.float32)


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


def _inverse(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    result: np.ndarray = pixels.sum() / np.maximum(pixels, 1.0)
    return result


def _effective_number(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    total = max(float(pixels.sum()), 2.0)
    rest = np.log1p(-1.0 / total)  # of b; by logarithms, since b^n rounds to 1 for few of many pixels
    result: np.ndarray = np.expm1(rest) / np.expm1(rest * np.maximum(pixels, 1.0))
    return result


_RULES = {
    "inverse": _inverse,
    "median-frequency": _median_frequency,
    "enet": _enet,
    "effective-number": _effective_number,
}
