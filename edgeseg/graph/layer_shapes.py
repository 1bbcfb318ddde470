"""The shapes of a net's convolutions and of the feature maps that they read, at an input size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from edgeseg.core.latency import LayerShape
from edgeseg.graph.data_flow import Call, trace
from edgeseg.graph.norms import NORM
from edgeseg.models.layer_kinds import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "hardtanh": "ReLU6",  # whose forward is Hardtanh's
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "sigmoid": "Sigmoid",
    "silu": "SiLU",
}
"""Class names of activations by their functions' names."""


def layer_shapes(net: nn.Module, *, size: tuple[int, int]) -> dict[str, LayerShape]:
    """Return the shape of every convolution and linear layer that an image of `size` passes, by its module's path."""
    modules = dict(net.named_modules())
    found = {}
    for call in trace(net, size=size).calls:
        module = modules.get(call.layer)
        if isinstance(module, nn.Linear):
            found[call.layer] = LayerShape(
                inputs=module.in_features, outputs=module.out_features, kernel=(1, 1), stride=(1, 1), dilation=(1, 1),
                groups=1, cells=(math.prod(call.shape[:-1]), 1), activation=_activation(call),
            )  # fmt: skip
        elif isinstance(module, CONVOLUTIONS):
            # A transposed convolution applies its kernel once to each cell that it reads, whatever its stride.
            stride = (1, 1) if isinstance(module, nn.ConvTranspose2d) else _pair(module.stride)
            found[call.layer] = LayerShape(
                inputs=module.in_channels, outputs=module.out_channels, kernel=_pair(module.kernel_size),
                stride=stride, dilation=_pair(module.dilation), groups=module.groups,
                cells=_pair(call.input_shape[2:]), activation=_activation(call),
            )  # fmt: skip
    return found


def _activation(call: Call) -> str:
    """Return the class name of the activation that is the only reader of a layer's output (after its batch norm)."""
    readers = call.readers
    if len(readers) == 1 and readers[0].op == NORM:
        readers = readers[0].readers
    return ACTIVATIONS.get(readers[0].op, "") if len(readers) == 1 else ""


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]
