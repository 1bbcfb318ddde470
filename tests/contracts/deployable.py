"""A small checkpoint for tests of export and conversion: fresh weights, batch-norm statistics of rendered streets."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import shutil
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeseg.calibration import preprocess_sha256
from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import RANGES_FILE, CalibrationSet, Ranges
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.data import render_street
from edgeseg.data.streets import CLASSES, PALETTE
from edgeseg.export.export import deploy, export_program
from edgeseg.export.head import image_spec
from edgeseg.export.observing import observe_points
from edgeseg.graph.quantization_points import IMAGE, plan_quantization
from edgeseg.models import build, load_checkpoint, resolve_model, save_checkpoint
from edgeseg.models.checkpoint import Checkpoint
from edgeseg.models.lineage import read_lineage, write_lineage
from edgeseg.models.surgery import bypass
from edgeseg.pixels import prepare

SIZE = (64, 96)
# Repeated blocks: without them a net holds the same kinds of ops, and exports and converts in half the time.
REPEATS: dict[str, tuple[str, ...]] = {
    "fast_scnn": ("features.1", "features.2", "features.4", "features.5", "features.7", "classifier.1"),
}
WEIGHTS_SHA256 = "5a" * 32

_street = lru_cache(maxsize=64)(render_street)


def deployable(name: str = "fast_scnn", *, size: tuple[int, int] = SIZE, short: bool = False) -> Checkpoint:
    """Return a checkpoint that lives in memory only, the same every time; a `short` one has no repeated blocks."""
    pixels = TensorSpec(name="pixels", shape=(1, 3, *size), dtype="float32", layout="NCHW", role="image")
    cells = (1, len(CLASSES), size[0] // 8, size[1] // 8)
    logits = TensorSpec(name="logits", shape=cells, dtype="float32", layout="NCHW", role="logits")
    spec = ModelSpec(
        name="small", architecture=name, classes=CLASSES, palette=PALETTE, ignore_index=255, inputs=(pixels,),
        outputs=(logits,), preprocess=Preprocess(), output_stride=8, weights_sha256=WEIGHTS_SHA256,
        licence="Apache-2.0",
    )  # fmt: skip
    torch.manual_seed(0)
    net = build(name, classes=len(CLASSES), size=size)
    if short:
        spec = without_repeats(net, spec)
    _settle(net, spec)
    return Checkpoint(spec=spec, net=net.eval(), folder=Path())


@cache
def trained_folder() -> Path:
    """Return a checkpoint's folder: the bundled streets weights without the repeated blocks, and ranges of its own.

    As with the bundled ones, the ranges are those of the points that the default rules plan.
    """
    folder = Path(tempfile.mkdtemp(prefix="edgeseg-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = resolve_model("fast_scnn:streets")
    whole = load_checkpoint(source, size=SIZE)
    net = copy.deepcopy(whole.net)
    spec = save_checkpoint(folder, net=net, spec=without_repeats(net, whole.spec))
    *before, last = read_lineage(source)
    write_lineage(folder, (*before, dataclasses.replace(last, weights_sha256=spec.weights_sha256)))
    planned = {item.name for item in read_json(Ranges, source / RANGES_FILE).ranges}
    observed = ranges(Checkpoint(spec=spec, net=net, folder=folder))
    kept = tuple(item for item in observed.ranges if item.name in planned)
    write_json(dataclasses.replace(observed, ranges=kept), folder / RANGES_FILE)
    return folder


def images(spec: ModelSpec, *, first: int = 0, count: int = 4) -> list[np.ndarray]:
    """Return input tensors (1, H, W, 3) uint8 of rendered streets."""
    streets = (_street(seed)[0] for seed in range(first, first + count))
    return [prepare(image, preprocess=spec.preprocess, tensor=image_spec(spec)) for image in streets]


def ranges(checkpoint: Checkpoint) -> Ranges:
    """Return ranges observed on four streets."""
    graph = export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec).module()
    tensors = images(checkpoint.spec)
    ends = checkpoint.spec.preprocess.byte_ends
    known = {} if ends is None else {IMAGE: ends}
    observed = observe_points(graph, lambda: iter(tensors), plan=plan_quantization(graph), known=known)
    calibration = CalibrationSet(
        source="streets:4", split="train", item_ids=("a", "b", "c", "d"), selection="all", seed=0,
        class_pixels=(1,) * len(CLASSES), preprocess_sha256=preprocess_sha256(checkpoint.spec.preprocess), sha256="0",
    )  # fmt: skip
    return Ranges(
        weights_sha256=checkpoint.spec.weights_sha256, observer="test", ranges=observed, calibration=calibration
    )


def without_repeats(net: nn.Module, spec: ModelSpec) -> ModelSpec:
    """Take the repeated blocks out of a net, in place, and return its spec."""
    repeats = REPEATS.get(spec.architecture, ())
    for name in repeats:
        bypass(net, name)
    return dataclasses.replace(spec, bypassed=repeats)


def _settle(net: nn.Module, spec: ModelSpec) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, 0.0, 0.2)
    host = dataclasses.replace(spec.preprocess, in_graph=False)
    images = (_street(seed)[0] for seed in range(3))
    batch = np.concatenate([prepare(image, preprocess=host, tensor=spec.inputs[0]) for image in images])
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(torch.from_numpy(batch))
