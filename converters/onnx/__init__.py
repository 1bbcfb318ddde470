"""ONNX for ONNX Runtime (float32, float16 weights, or int8 with pairs that fuse), TensorRT, and Qualcomm's HTP."""

from __future__ import annotations

from edgeseg.converters.onnx.convert import OnnxConverter
from edgeseg.converters.onnx.htp import HtpOnnxConverter
from edgeseg.converters.onnx.tensorrt import TensorRTOnnxConverter

__all__ = [
    "CONVERTER", "HTP_CONVERTER", "TENSORRT_CONVERTER", "HtpOnnxConverter", "OnnxConverter", "TensorRTOnnxConverter",
]  # fmt: skip

CONVERTER = OnnxConverter()
TENSORRT_CONVERTER = TensorRTOnnxConverter()
HTP_CONVERTER = HtpOnnxConverter()
