"""Each format keeps the converters' contract."""

from __future__ import annotations

from contracts.converter_contract import ConverterContract


class TestTflite(ConverterContract):
    format, library = "tflite", "litert_torch"
    deterministic = False


class TestCoreml(ConverterContract):
    format, library = "coreml", "coremltools"
    deterministic = False
