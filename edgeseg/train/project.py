"""The two recipes of a new project, commented, from what its data and its device say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.label_check import LabelCounts
from edgeseg.data.paths import refuse
from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.core.progress import Progress
    from edgeseg.core.target import Target
    from edgeseg.data import Dataset

MOST_READ = 200
"""Training images that are read to count classes and sizes."""
_STEP, _LONGEST = 32, 512
_STEPS, _EPOCHS = 3000, (20, 200)
_BATCH = 8
_RARE = 0.02
"""Share of the pixels below which a class counts as rare."""
_CACHE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectData:
    """What a data set says for a recipe: `shares` are the classes' shares of the labelled pixels."""

    text: str
    name: str
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    training: int
    validation: int
    sizes: tuple[tuple[int, int], tuple[int, int]]
    size: tuple[int, int]
    cache: bool
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetChoice:
    """An architecture that could be used, its start checkpoint, and its multiply-accumulates at the project's size."""

    name: str
    init: str
    macs: int
    parameters: int
    reason: str = ""


def look_at_data(
    text: str, *, training: Dataset, validation: Dataset, size: tuple[int, int] | None, on_progress: Progress | None
) -> ProjectData:
    """Return what the recipe needs to know of a data set, from at most `MOST_READ` training images.

    Raises:
        InputError: the splits have other classes, or no images.
        DatasetError: images or labels that cannot be used, or labels of a single class.
    """
    if training.classes != validation.classes:
        raise InputError(f"{text}: train and val have other classes. Both need the same classes in the same order.")
    step = max(1, len(training) // MOST_READ)
    indices = range(0, len(training), step)
    counts = LabelCounts(classes=training.classes, ignore_index=training.ignore_index)
    shapes: list[tuple[int, int]] = []
    broken: list[str] = []
    for done, index in enumerate(indices, start=1):
        try:
            sample = training.load(index)
        except DatasetError as error:
            broken.append(str(error))
        else:
            counts.add(sample.labels)
            shapes.append((sample.labels.shape[0], sample.labels.shape[1]))
        if on_progress is not None:
            on_progress(f"look at {training.name}", done, len(indices))
    if broken:
        refuse([*broken, f"{len(broken)} of {len(indices)} samples of {training.name} train cannot be used."])
    if not shapes:
        raise InputError(f"{text}: no training images.")
    findings = counts.check(f"{training.name} {training.split}")
    total = counts.pixels.sum()
    pixels = float(np.mean([height * width for height, width in shapes]))
    return ProjectData(
        text=text,
        name=training.name,
        classes=training.classes,
        shares=tuple(float(value) for value in counts.pixels / max(1, total)),
        training=len(training),
        validation=len(validation),
        sizes=(min(shapes), max(shapes)),
        size=size or fitting_size(shapes),
        cache=pixels * 4 * (len(training) + len(validation)) < _CACHE_BYTES,
        findings=findings,
    )


def fitting_size(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return an input size (height, width) in multiples of 32 for images of these sizes: their middle aspect ratio.

    The longer side is that of the middle image, at most 512: more costs more than it finds on most devices.
    """
    height, width = sorted(shapes, key=lambda shape: shape[0] / shape[1])[len(shapes) // 2]
    factor = min(1.0, _LONGEST / max(height, width))
    sides = (max(_STEP, round(side * factor / _STEP) * _STEP) for side in (height, width))
    return next(sides), next(sides)


def train_recipe(data: ProjectData, *, net: NetChoice, others: Sequence[NetChoice], target: Target, name: str) -> str:
    """Return the text of the training recipe."""
    batch = max(1, min(_BATCH, data.training))
    epochs = min(_EPOCHS[1], max(_EPOCHS[0], round(_STEPS * batch / data.training)))
    height, width = data.size
    rare = [label for label, share in zip(data.classes, data.shares, strict=True) if 0 < share < _RARE]
    weights = "median-frequency" if min((s for s in data.shares if s), default=1) < 0.1 else "none"
    smallest, largest = ("x".join(map(str, sides)) for sides in data.sizes)
    listed = [
        f"#   {label}: {100 * share:.2f} % of the labelled pixels{'' if share else ' -- never occurs'}"
        for label, share in zip(data.classes, data.shares, strict=True)
    ]
    more = [
        f"#   {item.name}: {item.macs / 1e9:.2f} GMACs, {item.parameters / 1e6:.2f} M parameters" for item in others
    ]
    lines = [
        f"# Trains a net on {data.name}, for {target.title}.",
        f"#   edgeseg train {name}/train.toml --out {name}/train",
        f"# {data.training} training and {data.validation} validation images, {smallest} to {largest} pixels, "
        f"{len(data.classes)} classes:",
        *listed,
        "schema = 1",
        f'name = "{name}"',
        '# licence = "CC-BY-4.0"  # of the weights; without it, the data\'s own from its LICENSE file',
        "",
        "[model]",
        f"# {net.macs / 1e9:.2f} GMACs and {net.parameters / 1e6:.2f} M parameters at this size. {net.reason}",
        f'name = "{net.name}"',
        f"size = [{height}, {width}]  # height, width. Smaller is faster, larger finds smaller things.",
        f"init = {json.dumps(net.init)}  # start weights; classifiers of other classes start fresh",
        *(["# Others that fit; without start weights they need more images and epochs:", *more] if more else []),
        "",
        "[data]",
        f"train = {json.dumps(data.text)}",
        f"cache = {str(data.cache).lower()}  # keeps decoded images in memory",
        "",
        "[augment]",
        "flip = 0.5  # chance to mirror left and right; 0 where sides have a meaning",
        "scale_min = 0.75",
        "scale_max = 1.75",
        "",
        "[loss]",
        "lovasz = 0.5  # trains the IoU itself, beside the cross-entropy",
        f'class_weights = "{weights}"' + (f"  # rare: {', '.join(rare)}" if rare else ""),
        "class_weight_power = 0.5",
        "stride = 2  # the loss looks at every second row and column",
        "",
        "[optimizer]",
        'name = "adamw"',
        f"rate = {2e-3 if net.init else 1e-3}",
        "weight_decay = 0.02",
        "clip = 5.0",
        "",
        "[schedule]",
        f"epochs = {epochs}  # about {round(epochs * data.training / batch)} steps",
        "warmup_epochs = 1.0",
        "",
        "[run]",
        f"batch = {batch}  # halve it if memory runs out",
        "ema = 0.99",
        "seed = 1",
        f"evaluate_every = {max(1, epochs // 20)}",
    ]
    return "\n".join(lines) + "\n"


def compress_recipe(data: ProjectData, *, target: Target, name: str, checkpoint: str) -> str:
    """Return the text of the compression recipe: training through int8, and pruning to switch on."""
    batch = max(1, min(_BATCH, data.training))
    epochs = max(2, round(300 * batch / data.training))
    lines = [
        f"# Makes the trained net ready for int8 on {target.title}.",
        f"#   edgeseg compress {name}/compress.toml --out {name}/compress",
        "schema = 1",
        f'name = "{name}-int8"',
        f"model = {json.dumps(checkpoint)}",
        "",
        "[data]",
        f"train = {json.dumps(data.text)}",
        f"cache = {str(data.cache).lower()}",
        "",
        "[training]",
        "augment = { scale_min = 0.75, scale_max = 1.75 }",
        "loss = { lovasz = 0.5, stride = 2 }",
        'optimizer = { name = "adamw", rate = 2e-4, weight_decay = 0.0, clip = 5.0 }',
        f"schedule = {{ epochs = {epochs}, warmup_epochs = 0.1 }}",
        f"run = {{ batch = {batch}, ema = 0.99, seed = 1 }}",
        "",
        "# Faster still: take the # away. Whole channels go, the least important first, then the net is trained on.",
        "# [[stages]]",
        '# kind = "prune"',
        "# macs = 0.7  # the share of multiply-accumulates to keep",
        f'# target = "{target.name}"  # channel counts that its kernels like',
        "# [[stages]]",
        '# kind = "finetune"',
        '# optimizer = { name = "adamw", rate = 1e-3 }',
        f"# schedule = {{ epochs = {3 * epochs}, warmup_epochs = 0.3 }}",
        "",
        "[[stages]]",
        'kind = "qat"  # quantization-aware training: weights and ranges learn what int8 does to them',
    ]
    return "\n".join(lines) + "\n"
