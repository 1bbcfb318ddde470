"""What int8 does to a model layer by layer: sensitivity, where int8 diverges from float, and what to keep in float."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeseg.analyze.layer_results import LayerLoss, LayerNoise, QuantDebug, Sensitivity
from edgeseg.analyze.plots import plot_noise, plot_sensitivity
from edgeseg.core.artifact import MANIFEST, open_artifact
from edgeseg.core.files import write_json
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.quantization import RANGES_FILE, Ranges, read_ranges
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.compress.prune.sensitivity import SensitivityScan
    from edgeseg.compress.quantize.sensitivity import LayerSqnr
    from edgeseg.models import Checkpoint

Found = TypeVar("Found", "Sensitivity", "QuantDebug")
DIVERGED_DB = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    name: str
    images: list[np.ndarray]
    labels: list[np.ndarray] | None


def int8_sensitivity(
    model: str | None,
    *,
    data: str | None = None,
    split: str = "train",
    count: int = 16,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> Sensitivity:
    """Return what each layer of a model costs when it alone computes in int8; written to `out` as JSON and plot.

    `data` are labelled images; without it, rendered streets are used and only changed labels are counted.

    Raises:
        InputError, UnknownName, CheckpointError, DatasetError: a model or images that cannot be used.
    """
    from edgeseg.compress.quantize.sensitivity import layer_sensitivity

    checkpoint, ranges = _opened(model)
    seen = _images(data, split=split, count=count, classes=checkpoint.spec.classes)
    effects = layer_sensitivity(checkpoint, ranges, seen.images, labels=seen.labels, on_progress=on_progress)
    layers = tuple(
        LayerLoss(layer=item.name, labels_changed=1 - item.agreement, miou_lost=item.miou_lost) for item in effects
    )
    found = Sensitivity(model=checkpoint.spec.name, data=seen.name, images=len(seen.images), layers=layers)
    return found if out is None else _written(found, out, name="sensitivity-int8", plot=plot_sensitivity)


def prune_sensitivity(
    model: str | None,
    *,
    data: str | None = None,
    split: str = "train",
    count: int = 16,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[SensitivityScan, tuple[Path, ...]]:
    """Return what each group of channels costs when it alone is pruned, and the files written to `out`.

    Raises:
        InputError, UnknownName, CheckpointError, DatasetError: a model or images that cannot be used, or images of
            other classes than the model's.
    """
    from edgeseg.compress.prune.sensitivity import plot_groups, scan_groups
    from edgeseg.data import open_dataset
    from edgeseg.models import load_checkpoint, resolve_model

    checkpoint = load_checkpoint(resolve_model(model))
    source = open_dataset(data or f"streets:{count}", split=split if data else "test")
    if source.classes != checkpoint.spec.classes:
        raise InputError(
            f"{source.name} has other classes than {checkpoint.spec.name}. Give images of its own classes."
        )
    samples = [source.load(index) for index in _spread(len(source), count=count)]
    scan = scan_groups(checkpoint, samples, on_progress=on_progress)
    if out is None:
        return scan, ()
    files = _files(out, "sensitivity-prune")
    write_json(scan, files[0])
    plot_groups(scan, files[1])
    return scan, files


def debug_quant(
    model: str | None,
    *,
    checkpoint: str | None = None,
    data: str | None = None,
    split: str = "train",
    count: int = 16,
    below_db: float = DIVERGED_DB,
    bound: float | None = None,
    out: Path | None = None,
    on_progress: Progress | None = None,
) -> QuantDebug:
    """Return where a model's int8 net diverges from its float net, point by point; with `bound`, what to keep in float.

    For a checkpoint the int8 net is the fake-quantized graph. For an int8 ONNX artifact ONNX Runtime computes it and
    returns every intermediate tensor; `checkpoint` is then the float one, unless a bundled one has its weights.

    Raises:
        InputError, UnknownName, CheckpointError, DatasetError: a model or images that cannot be used, or a bound that
            no choice of layers meets.
        UnsupportedError: an artifact whose engine returns no intermediates.
    """
    from edgeseg.analyze.artifact_sqnr import artifact_sqnr, float_checkpoint
    from edgeseg.compress.quantize.mixed_precision import check_bound
    from edgeseg.compress.quantize.sensitivity import first_divergence, layer_sqnr

    if bound is not None:
        check_bound(bound)
    tell = on_progress or no_progress
    artifact = open_artifact(Path(model)) if model and (Path(model) / MANIFEST).is_file() else None
    opened, ranges = _opened(model if artifact is None else str(float_checkpoint(artifact, named=checkpoint)))
    seen = _images(data, split=split, count=count, classes=opened.spec.classes)
    tell("compare", 0, len(seen.images))
    if artifact is None:
        layers = layer_sqnr(opened, ranges, seen.images)
    else:
        layers = artifact_sqnr(artifact, opened, seen.images)
    tell("compare", len(seen.images), len(seen.images))
    first = first_divergence(layers, below_db=below_db)
    found = QuantDebug(
        model=opened.spec.name,
        engine="fake quantization" if artifact is None else "onnxruntime",
        data=seen.name,
        images=len(seen.images),
        below_db=below_db,
        diverges_at=first.name if first is not None else None,
        layers=tuple(_noise(item) for item in layers),
    )
    if bound is not None:
        found = _bounded(found, opened, ranges, seen, bound=bound, tell=tell)
    return found if out is None else _written(found, out, name="debug-quant", plot=plot_noise)


def _bounded(
    found: QuantDebug, checkpoint: Checkpoint, ranges: Ranges, seen: _Images, *, bound: float, tell: Progress
) -> QuantDebug:
    from edgeseg.compress.quantize.mixed_precision import fewest_float_layers

    mixed = fewest_float_layers(
        checkpoint,
        ranges,
        seen.images,
        bound=bound,
        labels=seen.labels,
        on_progress=tell,
    )
    return dataclasses.replace(
        found, bound=bound, float_layers=mixed.float_layers, lost=mixed.lost, lost_all_int8=mixed.lost_all_int8
    )


def _noise(item: LayerSqnr) -> LayerNoise:
    def finite(db: float) -> float | None:
        return db if math.isfinite(db) else None

    return LayerNoise(layer=item.name, sqnr_db=finite(item.sqnr_db), own_db=finite(item.own_db))


def _opened(model: str | None) -> tuple[Checkpoint, Ranges]:
    from edgeseg.models import load_checkpoint, resolve_model

    path = resolve_model(model)
    checkpoint = load_checkpoint(path)
    file = checkpoint.folder / RANGES_FILE
    if not file.is_file():
        raise InputError(
            f"{checkpoint.folder}: has no activation ranges. Observe them first: edgeseg calibrate {path} --data DIR"
        )
    return checkpoint, read_ranges(file)


def _images(data: str | None, *, split: str, count: int, classes: tuple[str, ...]) -> _Images:
    """Return images spread over a data set, with their labels where its classes are the net's."""
    from edgeseg.data import open_dataset

    source = open_dataset(data or f"streets:{count}", split=split if data else "test")
    chosen = [source.load(index) for index in _spread(len(source), count=count)]
    labelled = data is not None and source.classes == classes
    return _Images(
        name=f"{source.name} {source.split}",
        images=[item.image for item in chosen],
        labels=[item.labels for item in chosen] if labelled else None,
    )


def _spread(total: int, *, count: int) -> list[int]:
    return [int(index) for index in np.linspace(0, total - 1, min(count, total), dtype=int)]


def _written(found: Found, out: Path, *, name: str, plot: Callable[[Found, Path], None]) -> Found:
    """Write a result as JSON and as a plot, and return it with its files."""
    files = _files(out, name)
    found = dataclasses.replace(found, files=files)
    write_json(found, files[0])
    plot(found, files[1])
    return found


def _files(out: Path, name: str) -> tuple[Path, Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}. Choose another --out.") from None
    return out / f"{name}.json", out / f"{name}.png"
