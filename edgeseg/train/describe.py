"""The spec of what a run makes, and the account of how it was made."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

from edgeseg.core.spec import LayerChannels, ModelSpec, TensorSpec
from edgeseg.data.streets import CLASSES, PALETTE
from edgeseg.models import architecture, resolve_model
from edgeseg.models.checkpoint import read_spec
from edgeseg.models.pruned_channels import for_classes

if TYPE_CHECKING:
    from edgeseg.data import Dataset
    from edgeseg.train.recipe import Recipe

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "lightning-fabric", "safetensors")


def model_spec(recipe: Recipe, data: Dataset) -> ModelSpec:
    """Return the spec of the net that the recipe trains on `data`; the weights' SHA-256 is still empty.

    A run that starts from a pruned checkpoint trains, and keeps, its narrower layers.
    """
    stride = architecture(recipe.model.name).output_stride
    high, width = recipe.model.size
    start = read_spec(resolve_model(recipe.model.init)) if recipe.model.init else None
    count = len(data.classes)
    image = TensorSpec(name="image", shape=(1, 3, high, width), dtype="float32", layout="NCHW", role="image")
    logits = TensorSpec(
        name="logits", shape=(1, count, high // stride, width // stride), dtype="float32", layout="NCHW", role="logits"
    )
    return ModelSpec(
        name=recipe.name,
        architecture=recipe.model.name,
        classes=data.classes,
        palette=palette(data.classes),
        ignore_index=data.ignore_index,
        inputs=(image,),
        outputs=(logits,),
        preprocess=recipe.preprocess,
        output_stride=stride,
        weights_sha256="",
        licence=recipe.licence or data.licence,
        notice=recipe.notice,
        channels=() if start is None else _channels(start, classes=count, size=recipe.model.size),
        bypassed=() if start is None else start.bypassed,
    )


def _channels(start: ModelSpec, *, classes: int, size: tuple[int, int]) -> tuple[LayerChannels, ...]:
    if not start.channels or len(start.classes) == classes:
        return start.channels
    return for_classes(start.channels, architecture=start.architecture, classes=classes, size=size)


def palette(classes: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Return a colour (R, G, B) for each class: CamVid's own for its names, else the i-th of Pascal VOC's colour map.

    VOC's map (Everingham et al., devkit) spreads the bits of the index over the channels, high bits first.
    """
    known = dict(zip(CLASSES, PALETTE, strict=True))
    return tuple(known.get(name) or _voc_colour(index + 1) for index, name in enumerate(classes))


def _voc_colour(index: int) -> tuple[int, int, int]:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that touch the numbers."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
