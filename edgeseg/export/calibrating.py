"""Activation ranges of a checkpoint, observed on calibration images."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.calibration import CalibrationSelection, leave_out, open_source, select
from edgeseg.calibration.cache import NO_CACHE, NetCache
from edgeseg.calibration.doctor import check_curve
from edgeseg.calibration.examination import examine
from edgeseg.calibration.finding import CalibrationFinding, refuse_blocking
from edgeseg.calibration.selecting import DEFAULT_SELECTION, selection_kind
from edgeseg.calibration.selections import SeenImage
from edgeseg.calibration.sources import held_out_images
from edgeseg.core.quantization import RANGES_FILE, Range, Ranges, read_ranges
from edgeseg.export.export import deploy, export_program
from edgeseg.export.head import image_spec, taking_pixels

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from edgeseg.calibration.selecting import See
    from edgeseg.core.input_statistics import InputStatistics
    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.models.checkpoint import Checkpoint

CACHE_VERSION = 1
"""Part of the key of what is kept: it changes with what is kept or how it is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Ranges, how they grew with the number of images, and what the doctor found in the images.

    `curve` holds (images, mean width of the ranges as a share of their final width).
    """

    ranges: Ranges
    findings: tuple[CalibrationFinding, ...]
    curve: tuple[tuple[int, float], ...] = ()


def calibrate_ranges(
    checkpoint: Checkpoint,
    source: str,
    *,
    count: int = 64,
    seed: int = 0,
    selection: str = DEFAULT_SELECTION,
    observer: str = "auto",
    allow_held_out: bool = False,
    skip_broken: bool = False,
    ignore_findings: bool = False,
    hold_out: int = 0,
    on_progress: Progress | None = None,
) -> Calibrated:
    """Return the ranges of a checkpoint's activations at its own input size; they serve every other size too.

    `source` is a folder of training images, a data set's folder, or `streets[:count[:seed]]`; `on_progress` gets
    the images looked at and those to look at. `selection` and `observer` are registered names (entry points
    `edgeseg.selections` and `edgeseg.observers`), "auto" the default observer. Up to `hold_out` images, a fifth of
    them at most, are left out for a proof where all would be used otherwise. What the net made of an image is kept by
    content (`edgeseg.calibration.cache`), so an interrupted calibration goes on where it ended.

    Raises:
        InputError: val or test images without `allow_held_out`, or no usable image.
        UnknownName: no such selection or observer.
        DatasetError: a folder without images, or images that cannot be read, without `skip_broken`.
        GateError: blocking findings (`edgeseg.calibration.doctor`), without `ignore_findings`.
    """
    check_kinds(selection=selection, observer=observer)
    spec = taking_pixels(checkpoint.spec)
    images = leave_out(open_source(source, allow_held_out=allow_held_out), count=hold_out, needed=count)
    graph = export_program(deploy(checkpoint, spec=spec, output="logits"), spec=spec).module()
    cache = NetCache(_graph_sha256(graph))
    see = _eyes(graph)
    chosen = select(
        images,
        spec=spec,
        tensor=image_spec(spec),
        see=see,
        count=count,
        seed=seed,
        kind=selection,
        skip_broken=skip_broken,
        known=cache.of("seen"),
        on_progress=on_progress,
    )
    findings = (
        *chosen.findings,
        *examine(
            chosen,
            spec=spec,
            see=see,
            held_out=() if allow_held_out else held_out_images(source),
            trained_like=_trained_like(checkpoint),
        ),
    )
    refuse_blocking(findings, ignore=ignore_findings)
    ranges, curve = observe(graph, chosen, spec=spec, observer=observer, cache=cache)
    few = check_curve(curve)
    if few:
        findings = (*(item for item in findings if item.kind != "few"), *few)
    return Calibrated(ranges=ranges, findings=findings, curve=curve)


def check_kinds(*, selection: str, observer: str) -> None:
    """Raise `UnknownName` for a selection or an observer that is not registered, with the nearest one."""
    from edgeseg.export.observing import AUTO, range_observer

    selection_kind(selection)
    if observer != AUTO:
        range_observer(observer)


def observe(
    graph: GraphModule, chosen: CalibrationSelection, *, spec: ModelSpec, observer: str = "auto", cache: NetCache
) -> tuple[Ranges, tuple[tuple[int, float], ...]]:
    """Return the ranges of a float deployment graph on the chosen images, and their curve; see `observing`.

    The last point, the logits, keeps its lowest and highest value: clipping there would change labels for nothing.
    Images whose bytes can serve as int8 steps unchanged keep them.
    """
    from edgeseg.export.observing import AUTO, OBSERVER, Spans, observe_points, range_observer
    from edgeseg.graph.quantization_points import IMAGE, plan_quantization

    found = plan_quantization(graph)
    ends = spec.preprocess.byte_ends
    # The key has an observer's name only: one of another package may have changed since.
    own = observer == AUTO or type(range_observer(observer)).__module__.startswith("edgeseg.")
    spans, results = Spans(cache.of("spans")), (cache if own else NO_CACHE).of("ranges")
    key = f"{observer} {chosen.calibration.sha256}"
    record = results.get(key)
    if record is None:
        observed = observe_points(
            graph,
            lambda: iter(chosen.tensors),
            plan=found,
            exact=tuple(point.name for point in found.points[-1:]),
            known={} if ends is None else {IMAGE: ends},
            observer=observer,
            spans=spans,
        )
        curve = spans.curve()
        results.put(key, {"ranges": [(item.name, item.low, item.high) for item in observed], "curve": curve})
    else:
        observed = tuple(Range(name=name, low=low, high=high) for name, low, high in record["ranges"])
        curve = tuple((int(images), float(width)) for images, width in record["curve"])
    ranges = Ranges(
        weights_sha256=spec.weights_sha256,
        observer=OBSERVER if observer == AUTO else f"histogram-2048-{observer}",
        ranges=observed,
        calibration=chosen.calibration,
    )
    return ranges, curve


def _trained_like(checkpoint: Checkpoint) -> InputStatistics | None:
    """Return the statistics of the images on which the checkpoint's own ranges were observed, None without any."""
    path = checkpoint.folder / RANGES_FILE
    if not path.is_file():
        return None
    carried = read_ranges(path)
    return carried.calibration.statistics if carried.weights_sha256 == checkpoint.spec.weights_sha256 else None


def _graph_sha256(graph: GraphModule) -> str:
    """Return the hash of what a graph computes: its nodes and every tensor that it stores."""
    digest = hashlib.sha256(f"{CACHE_VERSION}{graph.graph}".encode())
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            stored = attrgetter(str(node.target))(graph)
            digest.update(np.ascontiguousarray(stored.detach().cpu().numpy()).data)
    return digest.hexdigest()


def _eyes(graph: GraphModule) -> See:
    import torch

    def see(tensor: np.ndarray) -> SeenImage:
        with torch.no_grad():
            logits = graph(torch.from_numpy(tensor)).flatten(0, -2).double()
            shares = logits.softmax(-1)
            entropy = -(shares * shares.clamp_min(1e-30).log()).sum(-1).mean() / math.log(logits.shape[-1])
            features = torch.cat([logits.mean(0), logits.std(0, correction=0)])
        return SeenImage(
            class_pixels=np.bincount(logits.argmax(-1).numpy(), minlength=logits.shape[-1]),
            probabilities=shares.mean(0).numpy(),
            features=features.numpy(),
            entropy=float(entropy),
        )

    return see
