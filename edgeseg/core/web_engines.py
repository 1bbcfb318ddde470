"""The engines that run artifacts in a browser, by format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WebEngine:
    """An engine in a browser: its name in records, the format it runs, and the npm package it comes in.

    `int8_agreement` is the share of golden labels that it must repeat of int8 nets.
    """

    name: str
    format: str
    package: str
    int8_agreement: float


WEB_ENGINES = (
    # Its convolutions are exact, but it rescales residual additions without fused multiply-adds: 1 value in 100 000 is
    # one step off, and hard-swish and squeeze-and-excitation multiply that. LR-ASPP repeated 99.5 % of the labels.
    WebEngine(name="onnxruntime-web", format="onnx", package="onnxruntime-web", int8_agreement=0.985),
    # Bit by bit the outputs of LiteRT elsewhere.
    WebEngine(name="litertjs", format="tflite", package="@litertjs/core", int8_agreement=0.99),
)
