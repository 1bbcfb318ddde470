"""Scores on the validation split, with the same pre- and postprocessing as on every device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.pixels import decode, prepare

if TYPE_CHECKING:
    import numpy as np

    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Fractions over a split; None for a class that neither occurs nor is predicted, which the mean leaves out."""

    miou: float
    pixel_accuracy: float
    per_class_iou: dict[str, float | None]
    images: int


def evaluate(
    net: nn.Module, data: Dataset | Sequence[Sample], *, spec: ModelSpec, device: torch.device | None = None
) -> Score:
    """Return the score of a net in evaluation mode on labelled images, at each label map's own size."""
    confusion = ConfusionMatrix(len(spec.classes), ignore_index=spec.ignore_index)
    for index in range(len(data)):
        sample = data[index] if isinstance(data, Sequence) else data.load(index)
        confusion.update(predict_labels(net, sample.image, spec=spec, device=device), sample.labels)
    return Score(
        miou=confusion.miou(),
        pixel_accuracy=confusion.pixel_accuracy(),
        per_class_iou=dict(zip(spec.classes, confusion.per_class_iou(), strict=True)),
        images=len(data),
    )


@torch.inference_mode()
def predict_labels(
    net: nn.Module, image: np.ndarray, *, spec: ModelSpec, device: torch.device | None = None
) -> np.ndarray:
    """Return class ids (H, W) uint8 of an image (H, W, 3) BGR uint8."""
    x = input_of(image, spec=spec, device=device)
    logits = net(x.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
    rule, size = spec.preprocess, image.shape[:2]
    return decode(logits, tensor=spec.outputs[0], preprocess=rule, input_size=spec.size, size=size)


def input_of(image: np.ndarray, *, spec: ModelSpec, device: torch.device | None = None) -> torch.Tensor:
    """Return a net's input, normalised (1, 3, H, W), for an image (H, W, 3) BGR uint8, wherever the spec normalises."""
    x = torch.from_numpy(prepare(image, preprocess=spec.preprocess, tensor=spec.inputs[0])).to(device)
    return normalise(x, spec=spec) if spec.preprocess.in_graph else x


def normalise(pixels: torch.Tensor, *, spec: ModelSpec) -> torch.Tensor:
    """Return (pixel * scale - mean) / std, (N, 3, H, W) float32, from pixels (N, 3, H, W) 0 to 255."""
    rule = spec.preprocess
    mean = torch.tensor(rule.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(rule.std, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.float() * rule.scale - mean) / std
