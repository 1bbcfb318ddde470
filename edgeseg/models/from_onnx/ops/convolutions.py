"""Conv, ConvTranspose, Gemm, MatMul."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.models.from_onnx.ops.windows import window_of
from edgeseg.models.from_onnx.tracing import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.models.from_onnx.tracing import Node


def conv(node: Node) -> Result:
    """Add a convolution, after a padding if its two ends differ."""
    weight, bias = node.required(1), node.constant(2)
    window = window_of(node, kernel=weight.shape[2:])
    x, padding = node.result(0), window.before
    if not window.is_symmetric:
        x, padding = (
            node.emit("pad", x, settings={"pads": window.torch_pads(), "mode": "constant", "value": 0.0}),
            (0, 0),
        )
    groups = node.attribute("group", 1)
    settings = {
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "kernel_size": window.kernel,
        "stride": window.strides,
        "padding": padding,
        "dilation": window.dilations,
        "groups": groups,
        "bias": bias is not None,
    }
    return node.emit("conv", x, settings=settings, weights=_weights(weight, bias))


def conv_transpose(node: Node) -> Result:
    """Add a transposed convolution, cropped afterwards if the two ends' paddings differ."""
    weight, bias = node.required(1), node.constant(2)
    rule = node.attribute("auto_pad", "NOTSET")
    if rule not in ("NOTSET", "VALID"):
        raise node.refusal(f'auto_pad "{rule}"')
    if len(weight.shape) != 4:
        raise node.refusal(f"a kernel of {len(weight.shape) - 2} axes")
    strides, dilations = node.attribute("strides", (1, 1)), node.attribute("dilations", (1, 1))
    pads, extra = node.attribute("pads", (0, 0, 0, 0)), node.attribute("output_padding", (0, 0))
    x, groups = node.result(0), node.attribute("group", 1)
    full = [
        (side - 1) * stride + dilation * (kernel - 1) + 1 + more
        for side, stride, dilation, kernel, more in zip(
            x.shape[2:], strides, dilations, weight.shape[2:], extra, strict=True
        )
    ]
    wanted = node.attribute("output_shape")
    if wanted is not None:
        whole = [size - side for size, side in zip(full, wanted[-2:], strict=True)]
        pads = (*(pad - pad // 2 for pad in whole), *(pad // 2 for pad in whole))
    symmetric = tuple(pads[:2]) == tuple(pads[2:]) and min(pads) >= 0
    settings = {
        "in_channels": weight.shape[0],
        "out_channels": weight.shape[1] * groups,
        "kernel_size": weight.shape[2:],
        "stride": strides,
        "padding": pads[:2] if symmetric else (0, 0),
        "output_padding": extra,
        "groups": groups,
        "bias": bias is not None,
        "dilation": dilations,
    }
    made = node.emit("conv_transpose", x, settings=settings, weights=_weights(weight, bias))
    if symmetric:
        return made
    for axis in range(2):
        cut = {"axis": axis + 2, "start": pads[axis], "end": full[axis] - pads[axis + 2], "step": 1}
        made = node.emit("slice", made, settings=cut)
    return made


def gemm(node: Node) -> Result:
    """Add a linear layer, or a plain product where the second factor is not constant."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    x, third = node.result(0), node.constant(2)
    if node.attribute("transA", 0):
        x = node.emit("permute", x, settings={"order": [1, 0]})
    second = node.inputs[1]
    if isinstance(second, Result) or second is None:
        raise node.refusal("a second factor that depends on the image")
    weight = alpha * (second if node.attribute("transB", 0) else second.T)
    bias = None if third is None else np.broadcast_to(beta * third, (1, weight.shape[0])).reshape(-1)
    return _linear(node, x, weight=weight, bias=bias)


def matmul(node: Node) -> Result:
    """Add a linear layer for a constant matrix on the right, else a product."""
    first, second = node.inputs[0], node.inputs[1]
    if isinstance(first, Result) and isinstance(second, np.ndarray) and second.ndim == 2:
        return _linear(node, first, weight=second.T, bias=None)
    if first is None or second is None:
        raise node.refusal("a missing factor")
    return node.emit("matmul", first, second)


def _linear(node: Node, x: Result, *, weight: NDArray[Any], bias: NDArray[Any] | None) -> Result:
    settings = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    return node.emit("linear", x, settings=settings, weights=_weights(weight, bias))


def _weights(weight: NDArray[Any], bias: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


ONNX_CONVOLUTIONS = {"Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul}
