"""What was measured, on what, in which state: `Measurement`, one JSON file a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.artifact import Lineage
from edgeseg.core.records import renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLatency:
    """Percentiles of one stage (preprocess, infer, decode, total) in milliseconds over `runs` counted runs."""

    stage: str
    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """The machine as it was: what a reader needs to judge a latency. What cannot be read is None, never a guess."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Segmentation quality over `images` images of one data set and split; fractions, not percent.

    A class that neither occurs nor is predicted has an IoU of None and does not count in the mean.
    """

    data: str
    split: str
    images: int
    miou: float
    pixel_accuracy: float
    mean_dice: float
    boundary_f1: float
    per_class_iou: dict[str, float | None]
    per_class_dice: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One artifact on one device with one engine: latency, memory, and accuracy where it was asked for.

    `fps` is 1000 / p50 of the stage "total", 0 where nothing was timed; `image_size` is (height, width) of the
    images that were timed. The last four fields come from the artifact's manifest, for reports.
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

    def stage(self, name: str) -> StageLatency | None:
        """Return the percentiles of one stage, or None where it was not timed."""
        return next((item for item in self.latency if item.stage == name), None)
