"""Measurements side by side: each against its baseline, who is on the Pareto front, and what makes them unlike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.bench.latency import ratio
from edgeseg.bench.record import file_name
from edgeseg.core.measurement import Measurement
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMAT_TITLES = {
    "tflite": "TFLite",
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "coreml": "Core ML",
    "mlprogram": "Core ML",
    "executorch": "ExecuTorch",
}
BUSY_LOAD_PER_CORE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement as a table shows it; what was not measured, or means nothing, is None.

    `label` is short and unlike every other row's. `speed_up` is the baseline's p50 over its own, of a whole frame, and
    `infer_speed_up` of the engine's part of it; `miou_drop` is the baseline's mIoU less its own (a fraction), where
    both were scored on the same images. Times of an emulated device are left out. `on_front` says that no other row
    is both as fast and as accurate.
    """

    measurement: Measurement
    label: str
    baseline: str
    size_mb: float
    p50_ms: float | None
    p99_ms: float | None
    speed_up: float | None
    infer_speed_up: float | None
    miou: float | None
    miou_drop: float | None
    agreement: float | None
    on_front: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows in the order given, what the baseline of each is in words, and what a reader must know before judging."""

    rows: tuple[Row, ...]
    baseline: str
    warnings: tuple[str, ...]


def compare(measurements: Sequence[Measurement], *, baseline: str | None = None) -> Comparison:
    """Return measurements side by side.

    Without `baseline`, each is held against the fp32 artifact of the same model, engine, threads and input size.
    With it (an artifact's name, or NAME-ENGINE-Nt), all are held against that one; with a model's name, each against
    that model's fp32 artifact on the same engine, threads and input size: what compression gained.

    Raises:
        InputError: no measurement, or a baseline that fits more than one.
        UnknownName: a baseline that fits none.
    """
    if not measurements:
        raise InputError("No measurement was given. Give JSON files that edgeseg bench --out wrote.")
    origin = baseline if any(item.model == baseline for item in measurements) else None
    fixed = None if baseline is None or origin else _named(measurements, baseline)
    front = _front(measurements)
    labels = short_labels(measurements)
    rows = tuple(
        _row(item, label=label, labels=labels, measurements=measurements, on_front=index in front,
             baseline=fixed or _float_baseline(item, measurements, model=origin or item.model))
        for index, (item, label) in enumerate(zip(measurements, labels, strict=True))
    )  # fmt: skip
    same_engine = f"fp32 of {origin} on the same engine" if origin else "fp32 on the same engine"
    words = same_engine if fixed is None else labels[measurements.index(fixed)]
    warnings = (*find_warnings(measurements), *_without_baseline(rows))
    return Comparison(rows=rows, baseline=words, warnings=warnings)


def _without_baseline(rows: Sequence[Row]) -> tuple[str, ...]:
    lacking = [row.label for row in rows if not row.baseline and timed_ms(row.measurement) is not None]
    if not lacking:
        return ()
    return (
        f"No speed-up for {', '.join(lacking)}: no fp32 artifact of the same net, engine, threads and input size was "
        "given. Give one, or name a baseline.",
    )


def timed_ms(measurement: Measurement, percentile: str = "p50_ms") -> float | None:
    """Return a percentile of the total latency; None where nothing was timed, or only on an emulated device."""
    total = measurement.stage("total")
    return None if total is None or measurement.device.emulated else float(getattr(total, percentile))


def short_labels(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return a short name of each: format and precision, and of the rest only what is needed to tell them apart."""
    details: tuple[Callable[[Measurement], str], ...] = (
        lambda item: item.model,
        lambda item: item.engine,
        lambda item: f"{item.input_size[1]}x{item.input_size[0]}",
        lambda item: f"{item.threads}T",
        lambda item: item.device.name,
        lambda item: item.artifact,
    )
    labels = [f"{FORMAT_TITLES.get(item.format, item.format)} {item.precision}" for item in measurements]
    for detail in details:
        if len(set(labels)) == len(labels):
            break
        longer = [f"{label} {detail(item)}" for label, item in zip(labels, measurements, strict=True)]
        if len(set(longer)) > len(set(labels)):
            labels = longer
    return tuple(f"{label} #{i + 1}" if labels.count(label) > 1 else label for i, label in enumerate(labels))


def find_warnings(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return what makes these measurements unlike each other, or doubtful, one sentence each."""
    found = [
        _unlike(measurements, "different devices", lambda m: f"{m.device.name} ({m.device.cpu})", timed=True),
        _unlike(measurements, "different numbers of threads", lambda m: str(m.threads), timed=True),
        _unlike(measurements, "images of different sizes", lambda m: _pixels(m.image_size), timed=True),
        _unlike(measurements, "different images for accuracy", _scored_on, timed=False),
    ]
    if any(item.device.emulated for item in measurements):
        found.append("Measured on an emulated device: its times mean nothing and are left out.")
    if any(item.device.throttled for item in measurements):
        found.append("The device was throttled during a run: cool it or give it a better supply, and measure again.")
    loads = [m.device.load_average or 0.0 for m in measurements if m.latency]
    if any(m.latency and (m.device.load_average or 0) > BUSY_LOAD_PER_CORE * m.device.cores for m in measurements):
        found.append(
            f"The machine was busy (load average {max(loads):.1f}): trust the ratios of one run, not the milliseconds."
        )
    return tuple(text for text in found if text)


def _row(
    item: Measurement, *, label: str, baseline: Measurement | None, labels: Sequence[str],
    measurements: Sequence[Measurement], on_front: bool,
) -> Row:  # fmt: skip
    p50_ms = timed_ms(item)
    comparable = baseline is not None and p50_ms is not None and timed_ms(baseline) is not None
    return Row(
        measurement=item,
        label=label,
        baseline=labels[measurements.index(baseline)] if baseline else "",
        size_mb=item.artifact_bytes / 1e6,
        p50_ms=p50_ms,
        p99_ms=timed_ms(item, "p99_ms"),
        speed_up=ratio(item, baseline) if baseline and comparable else None,
        infer_speed_up=ratio(item, baseline, stage="infer") if baseline and comparable else None,
        miou=item.accuracy.miou if item.accuracy else None,
        miou_drop=_drop(item, baseline),
        agreement=item.label_agreement,
        on_front=on_front,
    )


def _drop(item: Measurement, baseline: Measurement | None) -> float | None:
    if baseline is None or item.accuracy is None or baseline.accuracy is None:
        return None
    return baseline.accuracy.miou - item.accuracy.miou if _scored_on(item) == _scored_on(baseline) else None


def _scored_on(item: Measurement) -> str:
    scored = item.accuracy
    return f"{scored.data} {scored.split}, {scored.images} images" if scored else ""


def _pixels(size: tuple[int, int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else ""


def _unlike(
    measurements: Sequence[Measurement], what: str, tell: Callable[[Measurement], str], *, timed: bool
) -> str | None:
    told = [text for item in measurements if (item.latency or not timed) and (text := tell(item))]
    kinds = list(dict.fromkeys(told))
    return (
        f"These measurements have {what}: {'; '.join(kinds)}. Do not compare across them." if len(kinds) > 1 else None
    )


def _float_baseline(item: Measurement, measurements: Sequence[Measurement], *, model: str) -> Measurement | None:
    def key(other: Measurement) -> tuple[object, ...]:
        return other.engine, other.threads, other.input_size, other.device.name

    floats = (other for other in measurements if other.precision == "fp32" and other.model == model)
    return next((other for other in floats if key(other) == key(item)), None)


def _models(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.model for item in measurements))


def _named(measurements: Sequence[Measurement], name: str) -> Measurement:
    by_run = {file_name(item).removesuffix(".json"): item for item in measurements}
    if name in by_run:
        return by_run[name]
    fits = [item for item in measurements if item.artifact == name]
    if not fits:
        raise unknown("baseline", name, [*by_run, *(item.artifact for item in measurements), *_models(measurements)])
    if len(fits) > 1:
        runs = ", ".join(sorted(run for run, item in by_run.items() if item in fits))
        raise InputError(f'Baseline "{name}" was measured {len(fits)} times. Say which: {runs}.')
    return fits[0]


def _front(measurements: Sequence[Measurement]) -> set[int]:
    """Return the indices of the measurements that none beats in p50 and mIoU at once."""
    points = {
        index: (p50_ms, item.accuracy.miou)
        for index, item in enumerate(measurements)
        if item.accuracy is not None and (p50_ms := timed_ms(item)) is not None
    }
    return {i for i, point in points.items() if not any(_beats(other, point) for other in points.values())}


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a != b and a[0] <= b[0] and a[1] >= b[1]
