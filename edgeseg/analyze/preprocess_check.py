"""Which preprocessing a net was trained with: the usual ones tried on labelled images, ranked by mIoU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.errors import InputError
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.models import Checkpoint

if TYPE_CHECKING:
    import numpy as np

    from edgeseg.core.progress import Progress
    from edgeseg.data import Dataset
    from edgeseg.runtime import Session

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is checked: `infer` takes the tensor `input` describes, and returns the one that `output` describes."""

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    own: Preprocess
    input: TensorSpec
    output: TensorSpec
    infer: Callable[[NDArray[Any]], NDArray[Any]]


def check_preprocess(
    subject: Checkpoint | Session, dataset: Dataset, *, limit: int = 16, on_progress: Progress | None = None
) -> PreprocessCheck:
    """Return how a net or an artifact scores under the usual preprocessings, on the first `limit` labelled images.

    Tried are both colour orders, `NORMALISATIONS`, and stretching against letterboxing where the images have another
    aspect ratio than the input. An artifact that normalises in its graph takes bytes: only the others are tried.

    Raises:
        InputError: no images, another number of classes, or labels that are all ignored.
        DatasetError: a sample that cannot be read.
    """
    from edgeseg.pixels import decode, prepare

    checked = _subject(subject)
    count = min(limit, len(dataset))
    if count < 1:
        raise InputError(f"{dataset.name} {dataset.split}: no images to check on.")
    if len(dataset.classes) != len(checked.classes):
        raise InputError(
            f"{dataset.name} has {len(dataset.classes)} classes, {checked.name} has {len(checked.classes)}: the labels "
            "cannot tell which preprocessing is right."
        )
    samples = [dataset.load(index) for index in range(count)]
    trials = _trials(checked, [sample.image for sample in samples])
    scores = {title: ConfusionMatrix(len(checked.classes), ignore_index=dataset.ignore_index) for title in trials}
    for done, sample in enumerate(samples, start=1):
        for title, rule in trials.items():
            output = checked.infer(prepare(sample.image, preprocess=rule, tensor=checked.input))
            labels = decode(
                output, tensor=checked.output, preprocess=rule, input_size=checked.size, size=sample.image.shape[:2]
            )
            scores[title].update(labels, sample.labels)
        if on_progress is not None:
            on_progress("try preprocessings", done, count)
    if not scores[OWN].counts.any():
        raise InputError(f"{dataset.name} {dataset.split}: every pixel of {count} label maps is ignored.")
    in_graph = subject.spec.preprocess.in_graph if isinstance(subject, Checkpoint) else checked.own.in_graph
    made = [_trial(title, trials[title], scores[title], in_graph=in_graph) for title in trials]
    ranked = sorted(made, key=lambda trial: (-round(trial.miou, 6), not trial.own))
    return PreprocessCheck(
        subject=checked.name, data=dataset.name, split=dataset.split, images=count, trials=tuple(ranked)
    )


def _subject(subject: Checkpoint | Session) -> _Subject:
    if not isinstance(subject, Checkpoint):
        manifest = subject.artifact.manifest
        return _Subject(
            name=manifest.name,
            classes=manifest.spec.classes,
            size=subject.input.size,
            own=manifest.preprocess,
            input=subject.input,
            output=subject.output,
            infer=subject.infer,
        )
    import torch

    @torch.inference_mode()
    def infer(tensor: NDArray[Any]) -> NDArray[Any]:
        logits: NDArray[Any] = subject.net(torch.from_numpy(tensor)).float().numpy()
        return logits

    spec = subject.spec
    return _Subject(
        name=spec.name,
        classes=spec.classes,
        size=spec.size,
        own=dataclasses.replace(spec.preprocess, in_graph=False),
        input=spec.inputs[0],
        output=spec.outputs[0],
        infer=infer,
    )


def _trial(title: str, rule: Preprocess, score: ConfusionMatrix, *, in_graph: bool) -> PreprocessTrial:
    return PreprocessTrial(
        title=title,
        preprocess=dataclasses.replace(rule, in_graph=in_graph),
        miou=score.miou(),
        pixel_accuracy=score.pixel_accuracy(),
        own=title == OWN,
    )


def _trials(checked: _Subject, images: list[NDArray[np.uint8]]) -> dict[str, Preprocess]:
    """Return the rules by title, the subject's own first, each once."""
    own = checked.own
    height, width = checked.size
    fits = all(abs(image.shape[0] * width - image.shape[1] * height) <= max(height, width) for image in images)
    usual = {"": (own.scale, own.mean, own.std)} if own.in_graph else NORMALISATIONS
    trials, seen = {OWN: own}, [own]
    for name, (scale, mean, std) in usual.items():
        for order in ("rgb", "bgr"):
            for resize in ("stretch", "letterbox"):
                if not own.in_graph:
                    mean_now, std_now = _in_order(mean, order), _in_order(std, order)
                else:
                    mean_now, std_now = mean, std
                rule = dataclasses.replace(
                    own, color_order=order, resize=resize, scale=scale, mean=mean_now, std=std_now
                )
                if any(_alike(rule, other, size_matters=not fits) for other in seen):
                    continue
                seen.append(rule)
                parts = (order.upper(), name, "" if fits else resize)
                trials[", ".join(part for part in parts if part)] = rule
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
