"""ONNX for ONNX Runtime: float32, float16 weights, or int8 with quantize/dequantize pairs that fuse on x86 and Arm."""

from __future__ import annotations

from edgeseg.converters.onnx.convert import OnnxConverter

__all__ = ["CONVERTER", "OnnxConverter"]

CONVERTER = OnnxConverter()
