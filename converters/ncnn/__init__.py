"""ncnn for Arm and x86 CPUs: float32, or float16 weights, through pnnx in a process of its own."""

from __future__ import annotations

from edgeseg.converters.ncnn.convert import NcnnConverter

__all__ = ["CONVERTER", "NcnnConverter"]

CONVERTER = NcnnConverter()
