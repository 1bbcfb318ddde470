"""The convolutions of a net with the maps they read, at an input size."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.core.latency import LayerShape

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.SiLU)


def layer_shapes(net: nn.Module, *, size: tuple[int, int]) -> dict[str, LayerShape]:
    """Return the shape of every convolution and linear layer that an image of `size` passes, by layer name."""
    dry = copy.deepcopy(net).to("meta").eval()
    behind = _activations(dry)
    found: dict[str, LayerShape] = {}
    for name, module in dry.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_pre_hook(_noter(name, behind.get(name, ""), found))
    with torch.no_grad():
        dry(torch.empty(1, 3, *size, device="meta"))
    return found


def _activations(net: nn.Module) -> dict[str, str]:
    """Return the class names of activations that follow a layer inside its own block, by the layer's name."""
    found = {}
    for prefix, block in net.named_modules():
        last = ""
        for name, child in block.named_children():
            if isinstance(child, (nn.Conv2d, nn.Linear)):
                last = f"{prefix}.{name}" if prefix else name
            elif isinstance(child, ACTIVATIONS) and last:
                found[last] = type(child).__name__
                last = ""
            elif not isinstance(child, nn.BatchNorm2d):
                last = ""
    return found


def _noter(name: str, activation: str, found: dict[str, LayerShape]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Linear):
            one = (1, 1)
            found[name] = LayerShape(
                inputs=module.in_features, outputs=module.out_features, kernel=one, stride=one, dilation=one, groups=1,
                cells=one, activation=activation,
            )  # fmt: skip
            return
        assert isinstance(module, nn.Conv2d)
        cells = (inputs[0].shape[2], inputs[0].shape[3])
        found[name] = LayerShape(
            inputs=module.in_channels, outputs=module.out_channels, kernel=_pair(module.kernel_size),
            stride=_pair(module.stride), dilation=_pair(module.dilation), groups=module.groups, cells=cells,
            activation=activation,
        )  # fmt: skip

    return note


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
