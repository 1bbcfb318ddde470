"""`Measurement`: results, device and device state of one benchmark run, stored as one JSON file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from edgeseg.core.artifact import Lineage
from edgeseg.core.checked import check_number
from edgeseg.core.metric_value import MetricValue
from edgeseg.core.records import renamed
from edgeseg.core.timing_method import MLPERF_QUERIES, MLPERF_SECONDS, Roofline, Sustained, TimingMethod

LEAST_RUNS_FOR_P99 = 200
"""With fewer runs the 99th percentile is decided by one or two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLatency:
    """Percentiles of one stage (preprocess, infer, decode, total) in milliseconds over `runs` counted runs.

    `p99_ms` is None for fewer than 200 runs, which are too few for it, and `p90_ms` where the tool that measured gives
    none. Each interval bounds its percentile with 95 %
    confidence (`bench.intervals`); None in records that were written before intervals.
    """

    stage: str
    runs: int
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    min_ms: float
    p50_interval_ms: tuple[float, float] | None = None
    p90_interval_ms: tuple[float, float] | None = None
    p99_interval_ms: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_number("runs", self.runs, low=1)
        for name in ("min_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms"):
            check_number(name, getattr(self, name))
        if self.p99_ms is not None and self.runs < LEAST_RUNS_FOR_P99:
            raise ValueError(f"p99_ms is {self.p99_ms:g} of {self.runs} runs; it takes {LEAST_RUNS_FOR_P99}.")
        ordered = [("min_ms", self.min_ms), ("p50_ms", self.p50_ms), ("p90_ms", self.p90_ms), ("p99_ms", self.p99_ms)]
        known = [(name, value) for name, value in ordered if value is not None]
        for (lower, low), (upper, high) in pairwise(known):
            if low > high:
                raise ValueError(f"{upper} is {high:g}, below {lower}, {low:g}.")
        if self.mean_ms < self.min_ms:
            raise ValueError(f"mean_ms is {self.mean_ms:g}, below min_ms, {self.min_ms:g}.")
        for name in ("p50", "p90", "p99"):
            self._check_interval(name)

    def _check_interval(self, name: str) -> None:
        value: float | None = getattr(self, f"{name}_ms")
        interval: tuple[float, float] | None = getattr(self, f"{name}_interval_ms")
        if interval is None:
            return
        low, high = interval
        check_number(f"{name}_interval_ms", low)
        check_number(f"{name}_interval_ms", high)
        if value is None or not low <= value <= high:
            raise ValueError(f"{name}_interval_ms is {low:g} to {high:g}; {name}_ms, {value}, is not inside.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """The state of the machine that matters for a latency. Values that cannot be read are None, never a guess.

    `governor` is the CPU's frequency governor and `power_source` "mains" or "battery", "" where unavailable.
    """

    name: str
    cpu: str
    arch: str
    cores: int
    memory_mb: int | None
    os: str
    python: str
    load_average: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    frequency_mhz: float | None = None
    throttled: bool | None = None
    power_w: float | None = None
    emulated: bool = False
    load_average_after: float | None = None
    frequency_before_mhz: float | None = None
    governor: str = ""
    power_source: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name is empty; a device needs one.")
        check_number("cores", self.cores, low=1)
        for name in (
            "memory_mb", "load_average", "load_average_after", "frequency_mhz", "frequency_before_mhz", "power_w",
        ):  # fmt: skip
            check_number(name, getattr(self, name))
        for name in ("temperature_before_c", "temperature_after_c"):
            check_number(name, getattr(self, name), low=-100, high=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Segmentation quality over `images` images of one data set and split: metric values by name.

    `data_sha256` is the hash of those images and their labels ("" in records of schema 1): equal hashes mean equal
    images, whatever the data sets are called. `source` is the text with which the data set was opened.
    """

    data: str
    split: str
    images: int
    metrics: dict[str, MetricValue]
    data_sha256: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        check_number("images", self.images, low=1)

    def value(self, metric: str) -> float | None:
        """Return a metric's value; None where it was not measured."""
        found = self.metrics.get(metric)
        return None if found is None else found.value

    def per_class(self, metric: str) -> dict[str, float | None]:
        """Return a metric's value of each class; empty where it has none."""
        found = self.metrics.get(metric)
        return dict(found.per_class or {}) if found else {}

    @property
    def miou(self) -> float:
        """The mean IoU; 0.0 where no class has one."""
        return self.value("miou") or 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the values, such as a mean over fewer than all classes."""
        noted = {value.note: name for name, value in reversed(self.metrics.items()) if value.note}
        return tuple(f"{name} is {note}." for note, name in reversed(noted.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSamples:
    """The time of every run and stage: uint32 multiples of 100 ns, run by run, zlib-compressed, in base64."""

    stages: tuple[str, ...]
    runs: int
    data: str

    def __post_init__(self) -> None:
        check_number("runs", self.runs, low=1, high=10_000_000)
        check_number("stages", len(self.stages), low=1, high=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One artifact on one device with one engine: latency, memory and, if measured, accuracy.

    `fps` is 1000 / p50 of the stage "total", 0 if nothing was timed; `image_size` is (height, width) of the timed
    images. `inference_precision` is the precision that the engine reports, "" if it does not. `target` to `lineage`
    are copied from the artifact's manifest, for reports.

    In a fresh process: `load_ms` opens the artifact with its files dropped from the page cache where the system allows
    that, `reload_ms` opens it again, and `first_inference_ms` is the first image after the first loading.
    `steady_memory_mb` is the resident memory after the runs, and `energy_mj` that of one image, where the device says.
    `frame_age` is the age of a live camera's frames when their labels were shown, as stage "frame_age".
    """

    schema: int
    created: str
    edgeseg_version: str
    artifact: str
    artifact_sha256: str
    artifact_bytes: int
    model: str
    format: str
    precision: str
    input_size: tuple[int, int]
    engine: str
    engine_version: str
    engine_options: dict[str, str]
    delegate: str
    threads: int
    warmup: int
    latency: tuple[StageLatency, ...]
    fps: float
    peak_memory_mb: float | None
    device: DeviceState
    accuracy: Accuracy | None = None
    label_agreement: float | None = None
    peak_memory_how: str = ""
    image_size: tuple[int, int] | None = field(default=None, metadata=renamed("picture_size"))
    target: str = ""
    licence: str = ""
    notice: str = ""
    lineage: Lineage | None = None
    inference_precision: str = ""
    samples: RawSamples | None = None
    method: TimingMethod | None = None
    load_ms: float | None = None
    reload_ms: float | None = None
    first_inference_ms: float | None = None
    steady_memory_mb: float | None = None
    energy_mj: float | None = None
    sustained: Sustained | None = None
    roofline: Roofline | None = None
    frame_age: StageLatency | None = None

    def __post_init__(self) -> None:
        check_number("artifact_bytes", self.artifact_bytes, low=1)
        for name in ("input_size", "image_size"):
            for side in getattr(self, name) or ():
                check_number(name, side, low=1, high=1_000_000)
        check_number("threads", self.threads, low=1, high=100_000)
        check_number("warmup", self.warmup)
        for name in (
            "peak_memory_mb", "load_ms", "reload_ms", "first_inference_ms", "steady_memory_mb", "energy_mj",
        ):  # fmt: skip
            check_number(name, getattr(self, name))
        check_number("label_agreement", self.label_agreement, high=1)
        check_number("fps", self.fps)
        total = self.stage("total")
        expected = 1000 / total.p50_ms if total and total.p50_ms else 0.0
        # fps is rounded to two digits, from a rounded p50.
        if not math.isclose(self.fps, expected, rel_tol=0.01, abs_tol=0.01):
            raise ValueError(f"fps is {self.fps:g}; 1000 / p50_ms of the total is {expected:g}.")
        if self.method is not None and self.method.protocol == "mlperf-single-stream":
            _check_mlperf(total)
        if self.roofline is not None and (infer := self.stage("infer")) is not None and infer.p50_ms:
            gops = 2 * self.roofline.macs / infer.p50_ms / 1e6
            if not math.isclose(self.roofline.gops, gops, rel_tol=0.01, abs_tol=0.01):
                raise ValueError(f"roofline.gops is {self.roofline.gops:g}; 2 macs / p50_ms of infer is {gops:g}.")

    def stage(self, name: str) -> StageLatency | None:
        """Return the percentiles of one stage, or None if it was not timed."""
        return next((item for item in self.latency if item.stage == name), None)

    @property
    def size_mb(self) -> float:
        """The artifact's size in MB of 10^6 bytes."""
        return self.artifact_bytes / 1e6

    @property
    def name(self) -> str:
        """DEVICE/ARTIFACT, as `compare --baseline` takes it."""
        return f"{self.device.name}/{self.artifact}"


def _check_mlperf(total: StageLatency | None) -> None:
    runs = total.runs if total else 0
    seconds = runs * total.mean_ms / 1000 if total else 0.0
    # The mean is rounded, and the time between two queries is not part of either.
    if runs < MLPERF_QUERIES or seconds < 0.99 * MLPERF_SECONDS:
        raise ValueError(
            f"method.protocol is mlperf-single-stream with {runs} runs in {seconds:.1f} s; it takes {MLPERF_QUERIES} "
            f"and {MLPERF_SECONDS:g} s."
        )
