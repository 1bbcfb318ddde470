"""The nets of the conversion matrix: trained for a minute on rendered streets, so that labels can be compared."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edgeseg.core.files import write_json
from edgeseg.core.quantization import RANGES_FILE
from edgeseg.core.spec_file import SpecFile
from edgeseg.data.streets import CLASSES, render_street
from edgeseg.export import calibrate_ranges
from edgeseg.models import Checkpoint, architecture, build, load_checkpoint, save_checkpoint
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec

MATRIX_STREETS, BATCH, FITTING_STEPS, RATE, SEED = 8, 2, 80, 1e-3, 0
UNLABELLED = 255


def settled_net(name: str, size: tuple[int, int], folder: Path, *, ranges: bool) -> Checkpoint:
    """Write and return a checkpoint of an architecture, with activation ranges beside it if they are wanted.

    The weights are random at first, and all of them are trained for a few steps on a few rendered streets: with a
    random net the classes differ by less than any rounding, and comparing labels would say nothing about a conversion.
    """
    torch.manual_seed(SEED)
    said = SpecFile(schema=1, name=name, classes=tuple(CLASSES), size=size, licence="Apache-2.0")
    spec = said.model_spec(architecture=name, output_stride=architecture(name).output_stride)
    spec = dataclasses.replace(spec, output=None)
    net = build(name, classes=len(CLASSES), size=size)
    images, labels = _streets(spec)
    _fit(net, images, labels)
    update_bn(images, net)
    net.eval()
    save_checkpoint(folder, net=net, spec=spec)
    checkpoint = load_checkpoint(folder)
    if ranges:
        streets = f"streets:{MATRIX_STREETS}"  # so small a set has findings of its own
        write_json(calibrate_ranges(checkpoint, streets, ignore_findings=True).ranges, folder / RANGES_FILE)
    return checkpoint


def _streets(spec: ModelSpec) -> tuple[list[Tensor], list[Tensor]]:
    """Return batches of normalized images (N, 3, H, W) and of labels at the logits' cells (N, h, w)."""
    host = dataclasses.replace(spec.preprocess, in_graph=False)
    streets = [render_street(seed, size=spec.size) for seed in range(MATRIX_STREETS)]
    images = [torch.from_numpy(prepare(image, preprocess=host, tensor=spec.inputs[0])) for image, _ in streets]
    centre, step = spec.output_stride // 2, spec.output_stride
    labels = [torch.from_numpy(label[centre::step, centre::step].astype("int64"))[None] for _, label in streets]
    starts = range(0, MATRIX_STREETS, BATCH)
    return tuple([torch.cat(items[at : at + BATCH]) for at in starts] for items in (images, labels))  # type: ignore[return-value]


def _fit(net: nn.Module, images: list[Tensor], labels: list[Tensor]) -> None:
    net.eval()  # one output: no auxiliary heads, no dropout
    for item in net.modules():
        if isinstance(item, nn.BatchNorm2d):
            item.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=FITTING_STEPS)
    for step in range(FITTING_STEPS):
        logits = net(images[step % len(images)])
        loss = nn.functional.cross_entropy(logits, labels[step % len(images)], ignore_index=UNLABELLED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
