"""The spec of the net that a run trains, and the library versions."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

from edgeseg.core.palette import voc_colour
from edgeseg.core.spec import LayerChannels, ModelSpec, NetOutput, TensorSpec
from edgeseg.data.streets import CLASSES, PALETTE
from edgeseg.models import resolve_model
from edgeseg.models.build import for_classes, output_stride
from edgeseg.models.checkpoint import at_size, read_spec
from edgeseg.models.factory import is_factory

if TYPE_CHECKING:
    from edgeseg.data import Dataset
    from edgeseg.train.recipe import Recipe

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "lightning-fabric", "safetensors")


def model_spec(recipe: Recipe, data: Dataset) -> ModelSpec:
    """Return the spec of the net that the recipe trains on `data`; the SHA-256 of the weights is still empty.

    A run that starts from a pruned checkpoint keeps its narrower layers.
    """
    start = read_spec(resolve_model(recipe.model.init)) if recipe.model.init else None
    name, (high, width), count = recipe.model.name, recipe.model.size, len(data.classes)
    foreign = is_factory(name)
    output = start.output if start is not None else NetOutput() if foreign else None
    arguments = {} if start is None else start.arguments
    stride = output_stride(name, classes=count, size=recipe.model.size, arguments=arguments, output=output)
    image = TensorSpec(name="image", shape=(1, 3, high, width), dtype="float32", layout="NCHW", role="image")
    logits = TensorSpec(
        name="logits", shape=(1, count, high // stride, width // stride), dtype="float32", layout="NCHW", role="logits"
    )
    return ModelSpec(
        name=recipe.name,
        architecture=name,
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
        rewrites=() if start is None else start.rewrites,
        arguments=arguments,
        output=output,
    )


def _channels(start: ModelSpec, *, classes: int, size: tuple[int, int]) -> tuple[LayerChannels, ...]:
    if not start.channels or len(start.classes) == classes:
        return start.channels
    return for_classes(at_size(start, size=size), classes=classes)


def palette(classes: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Return a colour (R, G, B) for each class: CamVid's own for its names, else one of Pascal VOC's colour map."""
    known = dict(zip(CLASSES, PALETTE, strict=True))
    return tuple(known.get(name) or voc_colour(index + 1) for index, name in enumerate(classes))


def training_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect the numbers."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
