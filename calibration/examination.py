"""The calibration doctor's examination of chosen images as a whole: leakage, colour order, normalisation, domain.

Wrong colour order and double normalisation show in what the float model makes of the images, without labels: with the
right input it is sure of each pixel and sees several classes, that is, the entropy of its mean prediction is far above
its mean entropy (the mutual information of Bridle et al., "Unsupervised Classifiers, Mutual Information and 'Phantom
Targets'", NeurIPS 1991).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.calibration.doctor import count_of, near
from edgeseg.calibration.finding import CalibrationFinding
from edgeseg.calibration.fingerprint import fingerprint
from edgeseg.core.spec import TensorSpec
from edgeseg.errors import DatasetError
from edgeseg.pixels import prepare
from edgeseg.pixels.statistics import drift_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeseg.calibration.selecting import CalibrationSelection
    from edgeseg.calibration.selections import SeenImage
    from edgeseg.calibration.sources import CalibrationSource
    from edgeseg.core.input_statistics import InputStatistics
    from edgeseg.core.spec import ModelSpec, Preprocess

# Mean difference in grey levels up to which two prepared images are the same: JPEG's artefacts, but no motion.
SAME_LEVELS = 4.0
# Grey levels in any cell of their 32 x 32 thumbnails: the mean hides a small thing at another place on even ground.
SAME_LEVELS_ANYWHERE = 8
# Held-out images that are looked at, evenly spaced.
HELD_OUT_IMAGES = 300
# Images on which another colour order and another normalisation are tried; on fewer, chance would decide.
TRIED = 8
# How much more informative another input has to be, as shares of the largest possible information, and on how many
# images it has to be surer. Trained nets reach 0.35 to 0.7 on their own kind of images, and lose 0.08 to 0.12 of it on
# street scenes with red and blue swapped.
CLEARLY, INFORMED, OF_IMAGES = 0.05, 0.3, 0.75
# From where on images are of another domain: in deviations of those of the training, and as a share of the full scale.
MEAN_SHIFTED, HISTOGRAM_MOVED = 1.0, 0.15


def examine(
    chosen: CalibrationSelection,
    *,
    spec: ModelSpec,
    see: Callable[[NDArray[Any]], SeenImage],
    held_out: Sequence[CalibrationSource] = (),
    trained_like: InputStatistics | None = None,
) -> tuple[CalibrationFinding, ...]:
    """Return what is wrong with chosen images as a whole; `chosen.findings` hold what screening found.

    `held_out` are the data set's other splits, `trained_like` the statistics of images like those of the training.
    """
    return (
        *_leakage(chosen, spec=spec, held_out=held_out),
        *_other_inputs(chosen, spec=spec, see=see),
        *_domain(chosen, trained_like=trained_like),
    )


def information(seen: Sequence[SeenImage]) -> float:
    """Return the mutual information of pixels and predicted classes, as a share of the largest possible, 0 to 1."""
    mean = np.mean([item.probabilities for item in seen], axis=0)
    largest = np.log(len(mean))
    entropy = -float(mean @ np.log(np.maximum(mean, 1e-30))) / largest
    return float(entropy - np.mean([item.entropy for item in seen]))


def _leakage(
    chosen: CalibrationSelection, *, spec: ModelSpec, held_out: Sequence[CalibrationSource]
) -> tuple[CalibrationFinding, ...]:
    found = []
    for source in held_out:
        same, alike = _copies(chosen, source, spec=spec)
        if same:
            (mine, theirs), count = same[0], len(same)
            text = (
                f"{count_of(same)} also {source.split} image{'s' if count > 1 else ''}, first {mine} (as {theirs}): "
                f"{source.split} figures would look too good. Remove {'them' if count > 1 else 'it'} from one split."
            )
            found.append(CalibrationFinding(kind="leakage", text=text, severity="blocking"))
        if alike:
            mine, theirs = alike[0]
            text = (
                f"{count_of(alike)} nearly the same as {source.split} images, first {mine} (as {theirs}): neighbouring "
                "frames in two splits. Split by drive or by day."
            )
            found.append(CalibrationFinding(kind="near-duplicate", text=text))
    return tuple(found)


def _copies(
    chosen: CalibrationSelection, source: CalibrationSource, *, spec: ModelSpec
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the names of (chosen image, held-out image) that are the same, and of those that are nearly the same."""
    same: list[tuple[str, str]] = []
    alike: list[tuple[str, str]] = []
    ids, tensor = chosen.calibration.item_ids, chosen.tensors[0]
    places = np.unique(np.linspace(0, len(source) - 1, min(HELD_OUT_IMAGES, len(source)), dtype=int))
    for place in map(int, places) if len(source) else ():
        try:
            image = source.load_image(place)
        except DatasetError:  # the verb that reads this split says so
            continue
        theirs = fingerprint(image)
        close = [(mine.levels_apart(theirs), at) for at, mine in enumerate(chosen.fingerprints) if near(mine, theirs)]
        if not close:
            continue
        apart, nearest = min(close)
        stored = _prepared(image, spec=spec, like=tensor)
        levels = float(np.abs(stored.astype(np.float32) - chosen.tensors[nearest].astype(np.float32)).mean())
        is_same = levels <= SAME_LEVELS and apart <= SAME_LEVELS_ANYWHERE
        (same if is_same else alike).append((ids[nearest], source.item_id(place)))
    return same, alike


def _prepared(image: NDArray[np.uint8], *, spec: ModelSpec, like: NDArray[Any]) -> NDArray[Any]:
    tensor = TensorSpec(name="image", shape=like.shape, dtype="uint8", layout="NHWC", role="image")
    return prepare(image, preprocess=spec.preprocess, tensor=tensor)


def _other_inputs(
    chosen: CalibrationSelection, *, spec: ModelSpec, see: Callable[[NDArray[Any]], SeenImage]
) -> tuple[CalibrationFinding, ...]:
    """Return a finding for each change of the input that makes the float model see clearly more."""
    own = chosen.seen[:TRIED]
    if len(own) < TRIED:
        return ()
    tensors = [chosen.tensors[place] for place in range(TRIED)]
    order = spec.preprocess.color_order
    other = "bgr" if order == "rgb" else "rgb"
    found = []
    if _clearer([see(np.ascontiguousarray(tensor[..., ::-1])) for tensor in tensors], own):
        text = (
            f"With red and blue swapped the model sees clearly more: the images or the spec's color_order are in the "
            f'wrong order. Set color_order = "{other}" in the spec, or store the images again.'
        )
        found.append(CalibrationFinding(kind="colour-order", text=text, severity="blocking"))
    undone = [_without_normalisation(tensor, preprocess=spec.preprocess) for tensor in tensors]
    tried = [see(tensor) for tensor in undone if tensor is not None]
    if len(tried) == len(own) and _clearer(tried, own):
        text = (
            "With values of 0 to 1 the model sees clearly more than with the spec's mean and std: it normalises by "
            "itself, or was trained without. Set mean = [0, 0, 0] and std = [1, 1, 1] in the spec."
        )
        found.append(CalibrationFinding(kind="normalised-twice", text=text, severity="blocking"))
    return tuple(found)


def _clearer(tried: Sequence[SeenImage], own: Sequence[SeenImage]) -> bool:
    """Return whether the model sees clearly more with another input: on the whole, and surer on most images."""
    surer = np.mean([mine.entropy > theirs.entropy for mine, theirs in zip(own, tried, strict=True)])
    found = information(tried)
    return found > INFORMED and found - information(own) > CLEARLY and float(surer) >= OF_IMAGES


def _without_normalisation(tensor: NDArray[Any], *, preprocess: Preprocess) -> NDArray[np.uint8] | None:
    """Return bytes that the spec's normalisation turns into values of 0 to 1; None if there are none, or no need."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    ends = np.stack([mean, mean + std]) / preprocess.scale
    plain = not mean.any() and bool((std == 1).all())
    if plain or tensor.dtype != np.uint8 or tensor.shape[-1] != len(mean) or ends.min() < 0 or ends.max() > 255:
        return None
    return np.rint((mean + std * (tensor / 255)) / preprocess.scale).astype(np.uint8)


def _domain(chosen: CalibrationSelection, *, trained_like: InputStatistics | None) -> tuple[CalibrationFinding, ...]:
    seen = chosen.calibration.statistics
    if trained_like is None or seen is None:
        return ()
    drift = drift_of(seen, trained_like)
    if drift.mean_shift < MEAN_SHIFTED and drift.histogram_distance < HISTOGRAM_MOVED:
        return ()
    text = (
        "The images are of another kind than those on which the checkpoint's own ranges were observed: mean shifted "
        f"by {drift.mean_shift:.1f} deviations, histogram by {drift.histogram_distance:.0%}. Give images of the camera "
        "that the model is for."
    )
    return (CalibrationFinding(kind="domain", text=text),)
