"""Which preprocessing a net was trained with: the usual ones tried on labelled images, ranked by mIoU."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.spec import Preprocess
from edgeseg.errors import InputError
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint

_BYTE = 1 / 255
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISATIONS: dict[str, tuple[float, tuple[float, float, float], tuple[float, float, float]]] = {
    "ImageNet mean and std": (_BYTE, _MEAN, _STD),
    "0 to 1": (_BYTE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1 to 1": (_BYTE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0 to 255": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0 to 255 less ImageNet mean": (1.0, (123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
}
"""Scale, mean and std of the usual normalisations, mean and std in the order red, green, blue."""
OWN = "as the spec says"
_CLEAR = 0.02
"""A difference in mIoU below this may be chance on a few images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessTrial:
    """A preprocessing and what the net reaches with it, as fractions; `own` marks the one of the spec."""

    title: str
    preprocess: Preprocess
    miou: float
    pixel_accuracy: float
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessCheck:
    """The trials, best mIoU first, on `images` images of a data set's split."""

    subject: str
    data: str
    split: str
    images: int
    trials: tuple[PreprocessTrial, ...]

    @property
    def best(self) -> PreprocessTrial:
        """The trial with the best mIoU; the spec's own where several are equal."""
        return self.trials[0]

    @property
    def own(self) -> PreprocessTrial:
        """The trial of the spec's own preprocessing."""
        return next(trial for trial in self.trials if trial.own)

    @property
    def verdict(self) -> str:
        """What the ranking means for the spec, in one sentence."""
        lead = self.best.miou - self.own.miou
        if self.best.own:
            return "The spec's own preprocessing is the best of them."
        if lead < _CLEAR:
            return (
                f"The best is {100 * lead:.2f} points above the spec's own, which may be chance on {self.images} "
                "images: nothing needs to change."
            )
        return f"The spec's preprocessing costs {100 * lead:.2f} points of mIoU: use the best one."


def check_preprocess(
    checkpoint: Checkpoint, dataset: Dataset, *, limit: int = 16, on_progress: Progress | None = None
) -> PreprocessCheck:
    """Return how a net scores under the usual preprocessings, on the first `limit` images of a labelled data set.

    Tried are both colour orders, `NORMALISATIONS`, and stretching against letterboxing where the images have another
    aspect ratio than the input.

    Raises:
        InputError: no images, another number of classes, or labels that are all ignored.
        DatasetError: a sample that cannot be read.
    """
    import torch

    from edgeseg.pixels import decode, prepare

    spec = checkpoint.spec
    count = min(limit, len(dataset))
    if count < 1:
        raise InputError(f"{dataset.name} {dataset.split}: no images to check on.")
    if len(dataset.classes) != len(spec.classes):
        raise InputError(
            f"{dataset.name} has {len(dataset.classes)} classes, {spec.name} has {len(spec.classes)}: the labels "
            "cannot tell which preprocessing is right."
        )
    samples = [dataset.load(index) for index in range(count)]
    trials = _trials(spec, [sample.image for sample in samples])
    scores = {title: ConfusionMatrix(len(spec.classes), ignore_index=dataset.ignore_index) for title in trials}
    for done, sample in enumerate(samples, start=1):
        for title, rule in trials.items():
            tensor = prepare(sample.image, preprocess=rule, tensor=spec.inputs[0])
            with torch.inference_mode():
                logits = checkpoint.net(torch.from_numpy(tensor)).float().numpy()
            labels = decode(
                logits, tensor=spec.outputs[0], preprocess=rule, input_size=spec.size, size=sample.image.shape[:2]
            )
            scores[title].update(labels, sample.labels)
        if on_progress is not None:
            on_progress("try preprocessings", done, count)
    if not scores[OWN].counts.any():
        raise InputError(f"{dataset.name} {dataset.split}: every pixel of {count} label maps is ignored.")
    made = [_trial(title, trials[title], scores[title], spec=spec) for title in trials]
    ranked = sorted(made, key=lambda trial: (-round(trial.miou, 6), not trial.own))
    return PreprocessCheck(
        subject=spec.name, data=dataset.name, split=dataset.split, images=count, trials=tuple(ranked)
    )


def _trial(title: str, rule: Preprocess, score: ConfusionMatrix, *, spec: ModelSpec) -> PreprocessTrial:
    return PreprocessTrial(
        title=title,
        preprocess=dataclasses.replace(rule, in_graph=spec.preprocess.in_graph),
        miou=score.miou(),
        pixel_accuracy=score.pixel_accuracy(),
        own=title == OWN,
    )


def _trials(spec: ModelSpec, images: list[NDArray[np.uint8]]) -> dict[str, Preprocess]:
    """Return the rules by title, the spec's own first, each once; none normalises in the graph."""
    own = dataclasses.replace(spec.preprocess, in_graph=False)
    height, width = spec.size
    fits = all(abs(image.shape[0] * width - image.shape[1] * height) <= max(height, width) for image in images)
    trials, seen = {OWN: own}, [own]
    for name, (scale, mean, std) in NORMALISATIONS.items():
        for order in ("rgb", "bgr"):
            for resize in ("stretch", "letterbox"):
                rule = dataclasses.replace(
                    own,
                    color_order=order,
                    resize=resize,
                    scale=scale,
                    mean=_in_order(mean, order),
                    std=_in_order(std, order),
                )
                if any(_alike(rule, other, size_matters=not fits) for other in seen):
                    continue
                seen.append(rule)
                trials[f"{order.upper()}, {name}" + ("" if fits else f", {resize}")] = rule
    return trials


def _in_order(rgb: tuple[float, float, float], order: str) -> tuple[float, float, float]:
    return rgb if order == "rgb" else (rgb[2], rgb[1], rgb[0])


def _alike(one: Preprocess, other: Preprocess, *, size_matters: bool) -> bool:
    numbers = [
        abs(a - b)
        for a, b in zip((one.scale, *one.mean, *one.std), (other.scale, *other.mean, *other.std), strict=True)
    ]
    same_place = one.resize == other.resize or not size_matters
    return one.color_order == other.color_order and same_place and max(numbers) < 1e-6
