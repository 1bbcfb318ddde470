"""Activations: Relu, Clip, HardSwish, Softmax and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.models.from_onnx.tracing import Node, Result


def _plain(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        return node.emit(kind, node.result(0))

    return add


def _with(kind: str, setting: str, attribute: str, default: float) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        return node.emit(kind, node.result(0), settings={setting: node.attribute(attribute, default)})

    return add


def onnx_clip(node: Node) -> Result:
    """Add a clamp; with the limits 0 and 6 it is a ReLU6, with 0 alone a ReLU."""
    low, high = (_limit(node, place, name) for place, name in ((1, "min"), (2, "max")))
    if low == 0 and high is None:
        return node.emit("relu", node.result(0))
    if low == 0 and high == 6:
        return node.emit("relu6", node.result(0))
    if low is None and high is None:
        return node.result(0)
    return node.emit("clamp", node.result(0), settings={"min": low, "max": high})


def _limit(node: Node, place: int, attribute: str) -> float | None:
    value = node.constant(place)
    found = node.attribute(attribute) if value is None else float(value)
    # PyTorch's exporter writes the largest float for no limit.
    return None if found is None or abs(found) >= np.finfo(np.float32).max else float(found)


def onnx_hard_sigmoid(node: Node) -> Result:
    """Add a hard sigmoid; slopes other than PyTorch's 1/6 become a product, a sum and a clamp."""
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return node.emit("hardsigmoid", node.result(0))
    scaled = node.emit("mul", node.result(0), settings={"other": alpha})
    return node.emit("clamp", node.emit("add", scaled, settings={"other": beta}), settings={"min": 0.0, "max": 1.0})


def onnx_prelu(node: Node) -> Result:
    """Add a PReLU with one slope, or one per channel."""
    x, slope = node.result(0), node.required(1)
    if slope.size not in (1, x.shape[1]) or (slope.size > 1 and slope.shape[-1] != 1 and slope.ndim > 1):
        raise node.refusal(f"a slope of shape {slope.shape}")
    return node.emit("prelu", x, settings={"num_parameters": slope.size}, weights={"weight": slope.reshape(-1)})


def onnx_gelu(node: Node) -> Result:
    """Add a GELU, exact or by tanh."""
    return node.emit("gelu", node.result(0), settings={"approximate": node.attribute("approximate", "none")})


def swish(node: Node) -> Result:
    """Add a SiLU; x sigmoid(alpha x) where alpha is not 1."""
    alpha = node.attribute("alpha", 1.0)
    if alpha == 1.0:
        return node.emit("silu", node.result(0))
    gate = node.emit("sigmoid", node.emit("mul", node.result(0), settings={"other": alpha}))
    return node.emit("mul", node.result(0), gate)


def _softmax(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        x, rank = node.result(0), len(node.result(0).shape)
        newer = node.trace.opset >= 13
        axis = node.attribute("axis", -1 if newer else 1) % rank
        if newer or axis == rank - 1:
            return node.emit(kind, x, settings={"dim": axis})
        # Before opset 13 it was taken over all axes from this one on.
        flat = node.emit("flatten", x, settings={"start": axis})
        shape = ["keep" if place < axis else side for place, side in enumerate(x.shape)]
        return node.emit("reshape", node.emit(kind, flat, settings={"dim": axis}), settings={"shape": shape})

    return add


ONNX_ACTIVATIONS: dict[str, Callable[[Node], Result]] = {
    "Relu": _plain("relu"),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "HardSwish": _plain("hardswish"),
    "Mish": _plain("mish"),
    "Selu": _plain("selu"),
    "Softplus": _plain("softplus"),
    "Softsign": _plain("softsign"),
    "LeakyRelu": _with("leaky_relu", "negative_slope", "alpha", 0.01),
    "Elu": _with("elu", "alpha", "alpha", 1.0),
    "Gelu": onnx_gelu,
    "Swish": swish,
    "Clip": onnx_clip,
    "HardSigmoid": onnx_hard_sigmoid,
    "PRelu": onnx_prelu,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
}
