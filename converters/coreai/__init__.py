"""Apple Core AI (.aimodel) for macOS 27 and iOS 27: float32 or float16, through coreai-torch in its own environment."""

from __future__ import annotations

from edgeseg.converters.coreai.convert import CoreAIConverter

__all__ = ["CONVERTER", "CoreAIConverter"]

CONVERTER = CoreAIConverter()
