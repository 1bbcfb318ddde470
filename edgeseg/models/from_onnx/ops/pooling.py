"""MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from edgeseg.models.from_onnx.ops.windows import Window, window_of

if TYPE_CHECKING:
    from edgeseg.models.from_onnx.tracing import Node, Result


def onnx_max_pool(node: Node) -> Result:
    """Add a max pooling, after a padding with the smallest float if the two ends differ."""
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise node.refusal("its second output, indices,")
    window = window_of(node, kernel=node.attribute("kernel_shape"))
    x, padding = node.result(0), window.before
    if not _within_half(window):
        lowest = torch.finfo(torch.float32).min
        x = node.emit("pad", x, settings={"pads": window.torch_pads(), "mode": "constant", "value": lowest})
        padding = (0, 0)
    settings = {
        "kernel_size": window.kernel,
        "stride": window.strides,
        "padding": padding,
        "dilation": window.dilations,
        "ceil_mode": bool(node.attribute("ceil_mode", 0)),
    }
    return node.emit("max_pool", x, settings=settings)


def onnx_average_pool(node: Node) -> Result:
    """Add an average pooling; excluded uneven padding is corrected by a constant factor per cell."""
    window = window_of(node, kernel=node.attribute("kernel_shape"))
    if window.dilations != (1, 1):
        raise node.refusal("dilation")
    counts_padding, ceil = bool(node.attribute("count_include_pad", 0)), bool(node.attribute("ceil_mode", 0))
    x = node.result(0)
    settings = {"kernel_size": window.kernel, "stride": window.strides, "ceil_mode": ceil}
    if _within_half(window):
        settings |= {"padding": window.before, "count_include_pad": counts_padding}
        return node.emit("avg_pool", x, settings=settings)
    padded = node.emit("pad", x, settings={"pads": window.torch_pads(), "mode": "constant", "value": 0.0})
    pooled = node.emit("avg_pool", padded, settings={**settings, "padding": (0, 0), "count_include_pad": False})
    if counts_padding:
        return pooled
    ones = functional.pad(torch.ones(1, 1, *x.shape[2:]), window.torch_pads())
    share = functional.avg_pool2d(ones, window.kernel, window.strides, ceil_mode=ceil, count_include_pad=False)
    return node.emit("mul", pooled, (1 / share).numpy())


def _within_half(window: Window) -> bool:
    """Return whether PyTorch's pooling supports the padding: equal ends, at most half of the kernel."""
    return window.is_symmetric and all(pad * 2 <= side for pad, side in zip(window.before, window.kernel, strict=True))


def global_average_pool(node: Node) -> Result:
    """Add the mean over all pixels."""
    if len(node.result(0).shape) != 4:
        return node.emit("reduce_mean", node.result(0), settings=_pixels(node))
    return node.emit("global_avg_pool", node.result(0), settings={"output_size": 1})


def global_max_pool(node: Node) -> Result:
    """Add the maximum over all pixels."""
    return node.emit("reduce_amax", node.result(0), settings=_pixels(node))


def _pixels(node: Node) -> dict[str, object]:
    return {"axes": list(range(2, len(node.result(0).shape))), "keepdim": True}


POOLING = {
    "MaxPool": onnx_max_pool,
    "AveragePool": onnx_average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
}
