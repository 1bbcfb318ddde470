"""Qualcomm HTP (Hexagon v68 to v81): quantized ONNX to a QNN context binary, in a toolchain of its own."""

from __future__ import annotations

from edgeseg.converters.qualcomm_htp.compile import HtpCompiler

__all__ = ["COMPILER", "HtpCompiler"]

COMPILER = HtpCompiler()
