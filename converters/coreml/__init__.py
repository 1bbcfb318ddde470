"""Core ML: an `.mlpackage` (ML program) in fp32, fp16 or W8A8 int8, with an image as its input."""

from __future__ import annotations

from edgeseg.converters.coreml.convert import CoreMLConverter

__all__ = ["CONVERTER", "CoreMLConverter"]

CONVERTER = CoreMLConverter()
