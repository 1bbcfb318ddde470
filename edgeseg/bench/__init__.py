"""Proof: accuracy and latency of artifacts on this device, comparison, gates and the report. Needs no torch."""

from __future__ import annotations

from edgeseg.bench.accuracy import Segmenter, measure_accuracy
from edgeseg.bench.compare import Comparison, Row, compare
from edgeseg.bench.devices import DeviceWatch, describe_device
from edgeseg.bench.gate import check_gate, gate_results, parse_gate
from edgeseg.bench.latency import bench_interleaved, bench_sustained, measure_latency, ratio
from edgeseg.bench.paired import AccuracyChange, compare_accuracy
from edgeseg.bench.record import build_measurement, read_measurement, read_measurements, write_measurement
from edgeseg.bench.report import ReportImage, render_report, write_report

__all__ = [
    "AccuracyChange",
    "Comparison",
    "DeviceWatch",
    "ReportImage",
    "Row",
    "Segmenter",
    "bench_interleaved",
    "bench_sustained",
    "build_measurement",
    "check_gate",
    "compare",
    "compare_accuracy",
    "describe_device",
    "gate_results",
    "measure_accuracy",
    "measure_latency",
    "parse_gate",
    "ratio",
    "read_measurement",
    "read_measurements",
    "render_report",
    "write_measurement",
    "write_report",
]
