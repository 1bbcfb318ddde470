"""ExecuTorch for its XNNPACK backend: float32, or int8 from the exported quantize/dequantize pairs."""

from __future__ import annotations

from edgeseg.converters.executorch.convert import ExecutorchConverter

__all__ = ["CONVERTER", "ExecutorchConverter"]

CONVERTER = ExecutorchConverter()
