"""Activation ranges of a checkpoint, observed on calibration images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.calibration import CalibrationSelection, leave_out, open_source, select
from edgeseg.core.quantization import Ranges
from edgeseg.export.export import deploy, export_program
from edgeseg.export.head import image_spec, taking_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule

    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Ranges, and one line for each thing that is wrong with the images they were observed on."""

    ranges: Ranges
    findings: tuple[str, ...]


def calibrate_ranges(
    checkpoint: Checkpoint,
    source: str,
    *,
    count: int = 64,
    seed: int = 0,
    allow_held_out: bool = False,
    skip_broken: bool = False,
    hold_out: int = 0,
    on_progress: Progress | None = None,
) -> Calibrated:
    """Return the ranges of a checkpoint's activations at its own input size; they serve every other size too.

    `source` is a folder of training images, a data set's folder, or `streets[:count[:seed]]`; `on_progress` gets
    the images looked at and those to look at. Up to `hold_out` images, a fifth of them at most, are left out for a
    proof where all would be used otherwise.

    Raises:
        InputError: val or test images without `allow_held_out`, or no usable image.
        DatasetError: a folder without images, or images that cannot be read, without `skip_broken`.
    """
    spec = taking_pixels(checkpoint.spec)
    images = leave_out(open_source(source, allow_held_out=allow_held_out), count=hold_out, needed=count)
    graph = export_program(deploy(checkpoint, spec=spec, output="logits"), spec=spec).module()
    chosen = select(
        images,
        spec=spec,
        tensor=image_spec(spec),
        see=_eyes(graph, classes=len(spec.classes)),
        count=count,
        seed=seed,
        skip_broken=skip_broken,
        on_progress=on_progress,
    )
    return Calibrated(ranges=observe(graph, chosen, spec=spec), findings=chosen.findings)


def observe(graph: GraphModule, chosen: CalibrationSelection, *, spec: ModelSpec) -> Ranges:
    """Return the ranges of a float deployment graph on the chosen images; see `observing` for the method.

    The last point, the logits, keeps its lowest and highest value: clipping there would change labels for nothing.
    Images whose bytes can serve as int8 steps unchanged keep them.
    """
    from edgeseg.export.observing import OBSERVER, observe_points
    from edgeseg.graph.quantization_points import IMAGE, plan_quantization

    found = plan_quantization(graph)
    ends = spec.preprocess.byte_ends
    observed = observe_points(
        graph,
        lambda: iter(chosen.tensors),
        plan=found,
        exact=tuple(point.name for point in found.points[-1:]),
        known={} if ends is None else {IMAGE: ends},
    )
    return Ranges(
        weights_sha256=spec.weights_sha256,
        observer=OBSERVER,
        ranges=observed,
        calibration=chosen.calibration,
    )


def _eyes(graph: GraphModule, *, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    def see(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            labels = graph(torch.from_numpy(tensor)).argmax(-1)
        return np.bincount(labels.numpy().reshape(-1), minlength=classes)

    return see
