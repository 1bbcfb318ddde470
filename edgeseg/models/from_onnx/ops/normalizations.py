"""BatchNormalization, InstanceNormalization, LayerNormalization, GroupNormalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeseg.models.from_onnx.tracing import Node, Result


def onnx_batch_norm(node: Node) -> Result:
    """Add a batch norm with its statistics."""
    x = node.result(0)
    if node.attribute("training_mode", 0):
        raise node.refusal("training mode")
    if len(x.shape) != 4:
        raise node.refusal(f"an input of {len(x.shape)} axes")
    names = ("weight", "bias", "running_mean", "running_var")
    settings = {"num_features": x.shape[1], "eps": node.attribute("epsilon", 1e-5)}
    weights = {name: node.required(place) for place, name in enumerate(names, start=1)}
    return node.emit("batch_norm", x, settings=settings, weights=weights)


def onnx_instance_norm(node: Node) -> Result:
    """Add an instance norm."""
    x = node.result(0)
    settings = {"num_features": x.shape[1], "eps": node.attribute("epsilon", 1e-5), "affine": True}
    return node.emit(
        "instance_norm", x, settings=settings, weights={"weight": node.required(1), "bias": node.required(2)}
    )


def onnx_layer_norm(node: Node) -> Result:
    """Add a layer norm over the last axes."""
    x = node.result(0)
    axis = node.attribute("axis", -1) % len(x.shape)
    shape = x.shape[axis:]
    scale, shift = node.required(1), node.constant(2)
    weights = {"weight": np.broadcast_to(scale, shape)}
    if shift is not None:
        weights["bias"] = np.broadcast_to(shift, shape)
    settings = {"normalized_shape": shape, "eps": node.attribute("epsilon", 1e-5), "bias": shift is not None}
    return node.emit("layer_norm", x, settings=settings, weights=weights)


def group_norm(node: Node) -> Result:
    """Add a group norm; before opset 21 scale and shift are one per group."""
    x = node.result(0)
    groups, channels = node.attribute("num_groups"), x.shape[1]
    weights = {}
    for name, value in (("weight", node.required(1)), ("bias", node.required(2))):
        weights[name] = value if value.size == channels else np.repeat(value, channels // groups)
    settings = {"num_groups": groups, "num_channels": channels, "eps": node.attribute("epsilon", 1e-5)}
    return node.emit("group_norm", x, settings=settings, weights=weights)


NORMALIZATIONS = {
    "BatchNormalization": onnx_batch_norm,
    "InstanceNormalization": onnx_instance_norm,
    "LayerNormalization": onnx_layer_norm,
    "GroupNormalization": group_norm,
}
