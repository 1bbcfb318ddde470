"""OpenVINO IR (`model.xml` with `model.bin`): float32, float16 weights, or int8 from quantize/dequantize pairs."""

from __future__ import annotations

from edgeseg.converters.openvino.convert import OpenvinoConverter

__all__ = ["CONVERTER", "OpenvinoConverter"]

CONVERTER = OpenvinoConverter()
