"""TensorRT engines for Jetson and RTX: built by trtexec on the device that runs them."""

from __future__ import annotations

from edgeseg.converters.tensorrt.compile import COMPILER_OPTIONS, TensorRTCompiler

__all__ = ["COMPILER", "COMPILER_OPTIONS", "TensorRTCompiler"]

COMPILER = TensorRTCompiler()
