"""Measurements as a device would have written them, for tests of what is made of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgeseg.bench.samples import latency_of, pack_samples
from edgeseg.core.artifact import Lineage
from edgeseg.core.measurement import Accuracy, DeviceState, Measurement, StageLatency
from edgeseg.core.metric_value import MetricValue, mean_over_classes
from edgeseg.core.timing_method import TimingMethod

DEVICE = DeviceState(
    name="Raspberry Pi 5", cpu="Arm Cortex-A76", arch="aarch64", cores=4, memory_mb=8060, os="Debian 12",
    python="3.11.2", load_average=0.4, temperature_before_c=46.0, temperature_after_c=61.0, throttled=False,
)  # fmt: skip
CLASSES = ("road", "sky", "car")


def stages(infer_ms: float, *, runs: int = 200) -> tuple[StageLatency, ...]:
    times_ms = {"preprocess": 0.4, "infer": infer_ms, "decode": 1.2, "total": infer_ms + 1.6}
    return tuple(
        StageLatency(
            stage=name,
            runs=runs,
            p50_ms=ms,
            p90_ms=1.1 * ms,
            p99_ms=1.5 * ms if runs >= 200 else None,
            mean_ms=ms,
            min_ms=0.9 * ms,
        )
        for name, ms in times_ms.items()
    )


def scores(miou: float, *, split: str = "val", images: int = 101) -> Accuracy:
    metrics = {
        "miou": mean_over_classes({"road": miou + 0.1, "sky": miou - 0.1}),
        "mean_dice": mean_over_classes(dict.fromkeys(CLASSES, 0.7)),
        "pixel_accuracy": MetricValue(value=0.9),
        "boundary_f1": MetricValue(value=0.6),
    }
    return Accuracy(data="camvid", split=split, images=images, metrics=metrics, data_sha256=f"{split}{images}" * 8)


def measurement(
    *, precision: str = "fp32", file_format: str = "tflite", engine: str = "litert", infer_ms: float | None = 6.5,
    miou: float | None = 0.64, device: DeviceState = DEVICE, threads: int = 2, model: str = "fast_scnn",
    agreement: float | None = None,
) -> Measurement:  # fmt: skip
    latency = () if infer_ms is None else stages(infer_ms)
    return Measurement(
        schema=2, created="2026-01-02T03:04:05+00:00", edgeseg_version="0.1.0",
        artifact=f"{model}-{file_format}-{precision}", artifact_sha256="ab" * 32, artifact_bytes=1_500_000, model=model,
        format=file_format, precision=precision, input_size=(352, 480), engine=engine, engine_version="2.3.0",
        engine_options={"xnnpack": "on"}, delegate="cpu", threads=threads, warmup=20, latency=latency,
        fps=0.0 if infer_ms is None else round(1000 / (infer_ms + 1.6), 2), peak_memory_mb=96.0, device=device,
        accuracy=None if miou is None else scores(miou), label_agreement=agreement, peak_memory_how="VmHWM",
        image_size=(360, 480) if latency else None, target=file_format, licence="CC-BY-NC-SA-4.0",
        notice="Trained on <CamVid>: not for commercial use.",
        lineage=Lineage(checkpoint="fast_scnn:camvid", weights_sha256="9f" * 32, training_data="camvid train", seed=3,
                        training_command="edgeseg train --recipe fast_scnn-camvid"),
    )  # fmt: skip


def several() -> tuple[Measurement, ...]:
    return (
        measurement(),
        measurement(precision="int8", infer_ms=3.7, miou=0.635, agreement=0.991),
        measurement(file_format="onnx", engine="onnxruntime", infer_ms=7.6, miou=0.64),
        measurement(file_format="onnx", engine="onnxruntime", precision="int8", infer_ms=7.1, miou=0.633),
        measurement(file_format="coreml", engine="mil-reference", infer_ms=None, miou=0.64),
    )


def record_of(times_ns: np.ndarray, *, session: str = "", **changes: object) -> Measurement:
    """Return a record with raw samples: `times_ns` is (runs, 3); records of one `session` took turns."""
    samples = pack_samples(times_ns.astype(np.int64))
    latency = latency_of(samples)
    method = TimingMethod(protocol="standard", session=session, least_runs=len(times_ns), least_seconds=0, rounds=10)
    fps = round(1000 / latency[-1].p50_ms, 2)
    record = dataclasses.replace(measurement(), samples=samples, latency=latency, fps=fps, method=method)
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def noisy_times(*, seed: int, runs: int = 200, slower: float = 1.0, noise: float = 0.03) -> np.ndarray:
    """Return (runs, 3) ns around 0.5, 6 and 1 ms with slow drifts; `slower` is a factor of infer."""
    rng = np.random.default_rng(seed)
    load = 1 + np.repeat(rng.gamma(2, noise / 2, -(-runs // 20)), 20)[:runs, None]
    return np.array([5e5, 6e6 * slower, 1e6]) * load * (1 + rng.gamma(2, noise / 4, (runs, 3)))
