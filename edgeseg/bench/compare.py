"""Measurements side by side: each against its baseline, and the Pareto front of each device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.bench.alike import check_alike, data_key, find_warnings
from edgeseg.bench.baselines import choose_baselines
from edgeseg.bench.change import LatencyChange, latency_change
from edgeseg.bench.latency import ratio
from edgeseg.core.measurement import Measurement
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement as a table row; values not measured, or without meaning, are None.

    `label` is short and unique; `baseline` is the label of the row that it is compared with, "" for none. `speed_up` is
    the baseline's p50 over its own, of a whole frame, and `infer_speed_up` of the engine's part of it. `miou_change` is
    its mIoU minus the baseline's, a fraction, negative if it is worse, and `int8_change` the same against the fp32
    artifact of its own net: what quantization alone costs. `p50_change` is the change of the p50 with its interval and
    verdict, where both records have raw samples. Times of an emulated device are left out. `on_front` says
    that no other row of its device is both as fast and as accurate.
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
    miou_change: float | None
    int8_change: float | None
    agreement: float | None
    on_front: bool
    p50_change: LatencyChange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOnDevice:
    """The labels of the best rows on one device; "" if nothing was timed or scored there."""

    device: str
    fastest: str
    most_accurate: str
    smallest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows in the order given, the baseline, the best of each device, and warnings.

    `requested` and `mixed` are the arguments of `compare`.
    """

    rows: tuple[Row, ...]
    baseline: str
    best: tuple[BestOnDevice, ...]
    warnings: tuple[str, ...]
    requested: str = ""
    mixed: tuple[str, ...] = ()

    def row(self, label: str) -> Row | None:
        """Return the row of a label; None for ""."""
        return next((row for row in self.rows if row.label == label), None)


def compare(
    measurements: Sequence[Measurement], *, baseline: str | None = None, mixed: Iterable[str] = ()
) -> Comparison:
    """Return measurements side by side.

    Without `baseline`, each is compared with the fp32 artifact of the same model, device, engine, threads and input
    size. With an artifact's name, the rows of each device are compared with that artifact there; with DEVICE/ARTIFACT,
    all rows with that one; with eight or more digits of an artifact's SHA-256, as with its name; with a model's name,
    each with that model's fp32 artifact on the same device and engine: the gain of compression. -ENGINE-Nt behind an
    artifact's name selects one of its runs.

    Records of different data, sizes or states are refused, except for the fields in `mixed` (`data`, `input_size`,
    `image_size`, `emulated`, `throttled`).

    Raises:
        InputError: no measurement, records that differ in one of those fields, or a baseline that fits several.
        UnknownName: no such baseline or field.
    """
    if not measurements:
        raise InputError("No measurement was given. Give JSON files that edgeseg bench --out wrote.")
    mixed = tuple(mixed)
    check_alike(measurements, mixed=mixed)
    chosen = choose_baselines(measurements, baseline)
    own_floats = choose_baselines(measurements, None)
    labels = short_labels(measurements)
    front = _front(measurements)
    rows = tuple(
        _row(
            item,
            label=labels[index],
            baseline=None if (at := chosen.indices[index]) is None else measurements[at],
            baseline_label="" if at is None else labels[at],
            own_float=None if (own := own_floats.indices[index]) is None else measurements[own],
            on_front=index in front,
        )
        for index, item in enumerate(measurements)
    )
    words = labels[chosen.fixed] if chosen.fixed is not None else chosen.words
    warnings = (*find_warnings(measurements), *chosen.warnings, *_without_baseline(rows, given=baseline is not None))
    return Comparison(
        rows=rows, baseline=words, best=_best(rows), warnings=warnings, requested=baseline or "", mixed=mixed
    )


def timed_ms(measurement: Measurement, percentile: str = "p50_ms") -> float | None:
    """Return a percentile of the total latency; None if it was not measured, or on an emulated device."""
    total = measurement.stage("total")
    if total is None or measurement.device.emulated:
        return None
    value: float | None = getattr(total, percentile)
    return value


def short_labels(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return a short name for each: format and precision, and only the details needed to distinguish them."""
    details: tuple[Callable[[Measurement], str], ...] = (
        lambda item: item.model,
        lambda item: f"on {item.device.name}",
        lambda item: item.engine,
        lambda item: f"{item.input_size[0]}x{item.input_size[1]}",
        lambda item: f"{item.threads}T",
        lambda item: item.artifact,
        lambda item: item.artifact_sha256[:8],
    )
    labels = [f"{item.format} {item.precision}" for item in measurements]
    for detail in details:
        if len(set(labels)) == len(labels):
            break
        longer = [f"{label} {detail(item)}" for label, item in zip(labels, measurements, strict=True)]
        if len(set(longer)) > len(set(labels)):
            labels = longer
    return tuple(f"{label} #{i + 1}" if labels.count(label) > 1 else label for i, label in enumerate(labels))


def _without_baseline(rows: Sequence[Row], *, given: bool) -> tuple[str, ...]:
    lacking = [row.label for row in rows if not row.baseline and timed_ms(row.measurement) is not None]
    if not lacking or given:
        return ()
    return (
        f"No speed-up for {', '.join(lacking)}: no fp32 artifact of the same net, device, engine, threads and "
        "input size was given. Add one, or name a baseline.",
    )


def _row(
    item: Measurement,
    *,
    label: str,
    baseline: Measurement | None,
    baseline_label: str,
    own_float: Measurement | None,
    on_front: bool,
) -> Row:
    timed = baseline is not None and timed_ms(item) is not None and timed_ms(baseline) is not None
    return Row(
        measurement=item,
        label=label,
        baseline=baseline_label,
        size_mb=item.size_mb,
        p50_ms=timed_ms(item),
        p99_ms=timed_ms(item, "p99_ms"),
        speed_up=ratio(item, baseline) if baseline and timed else None,
        infer_speed_up=ratio(item, baseline, stage="infer") if baseline and timed else None,
        miou=item.accuracy.value("miou") if item.accuracy else None,
        miou_change=_miou_change(item, baseline),
        int8_change=_miou_change(item, own_float) if item.precision != "fp32" else None,
        agreement=item.label_agreement,
        on_front=on_front,
        p50_change=latency_change(item, baseline) if baseline is not None and timed and baseline is not item else None,
    )


def _miou_change(item: Measurement, baseline: Measurement | None) -> float | None:
    if baseline is None or item.accuracy is None or baseline.accuracy is None:
        return None
    ours, theirs = item.accuracy.value("miou"), baseline.accuracy.value("miou")
    same = data_key(item.accuracy) == data_key(baseline.accuracy)
    return ours - theirs if same and ours is not None and theirs is not None else None


def _best(rows: Sequence[Row]) -> tuple[BestOnDevice, ...]:
    found = []
    for device in dict.fromkeys(row.measurement.device.name for row in rows):
        own = [row for row in rows if row.measurement.device.name == device]
        timed = [row for row in own if row.p50_ms is not None]
        scored = [row for row in own if row.miou is not None]
        found.append(
            BestOnDevice(
                device=device,
                fastest=min(timed, key=lambda row: row.p50_ms or 0).label if timed else "",
                most_accurate=max(scored, key=lambda row: row.miou or 0).label if scored else "",
                smallest=min(own, key=lambda row: row.size_mb).label,
            )
        )
    return tuple(found)


def _front(measurements: Sequence[Measurement]) -> set[int]:
    """Return the indices of the measurements that no other on the same device beats in both p50 and mIoU."""
    points = {
        index: (item.device.name, p50_ms, miou)
        for index, item in enumerate(measurements)
        if item.accuracy is not None
        and (miou := item.accuracy.value("miou")) is not None
        and (p50_ms := timed_ms(item)) is not None
    }
    return {i for i, point in points.items() if not any(_beats(other, point) for other in points.values())}


def _beats(a: tuple[str, float, float], b: tuple[str, float, float]) -> bool:
    return a != b and a[0] == b[0] and a[1] <= b[1] and a[2] >= b[2]
