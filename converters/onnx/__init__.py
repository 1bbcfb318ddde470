"""ONNX for ONNX Runtime (float32, float16 weights, or int8 with pairs that fuse on x86 and Arm), and for TensorRT."""

from __future__ import annotations

from edgeseg.converters.onnx.convert import OnnxConverter
from edgeseg.converters.onnx.tensorrt import TensorRTOnnxConverter

__all__ = ["CONVERTER", "TENSORRT_CONVERTER", "OnnxConverter", "TensorRTOnnxConverter"]

CONVERTER = OnnxConverter()
TENSORRT_CONVERTER = TensorRTOnnxConverter()
