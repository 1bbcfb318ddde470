"""TFLite for LiteRT: float32, float16 weights, or int8 with hard-swish left in float."""

from __future__ import annotations

from edgeseg.converters.tflite.convert import TFLiteConverter

__all__ = ["CONVERTER", "TFLiteConverter"]

CONVERTER = TFLiteConverter()
