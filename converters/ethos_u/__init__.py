"""Arm Ethos-U55, U65 and U85: int8 TFLite through Vela, which runs in a toolchain of its own."""

from __future__ import annotations

from edgeseg.converters.ethos_u.compile import EthosUCompiler

__all__ = ["COMPILER", "EthosUCompiler"]

COMPILER = EthosUCompiler()
