"""Proof: accuracy and latency of artifacts on this device, comparison, gates and the report. Needs no torch."""

from __future__ import annotations

from edgeseg.bench.accuracy import Segmenter, validate
from edgeseg.bench.boundary import BoundaryF1
from edgeseg.bench.confusion import ConfusionMatrix
from edgeseg.bench.devices import DeviceWatch, describe_device
from edgeseg.bench.latency import bench, bench_interleaved, ratio
from edgeseg.bench.paired import AccuracyDrop, compare_accuracy
from edgeseg.bench.record import build_measurement, read_measurement, read_measurements, write_measurement

__all__ = [
    "AccuracyDrop",
    "BoundaryF1",
    "ConfusionMatrix",
    "DeviceWatch",
    "Segmenter",
    "bench",
    "bench_interleaved",
    "build_measurement",
    "compare_accuracy",
    "describe_device",
    "ratio",
    "read_measurement",
    "read_measurements",
    "validate",
    "write_measurement",
]
