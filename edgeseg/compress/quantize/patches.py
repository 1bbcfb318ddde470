"""What a convolution or linear layer reads and gives at random places of its images: rows of a linear regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgeseg.compress.quantize.cross_layer_equalization import CONVOLUTION_OPS, call_arguments
from edgeseg.graph.quantization_points import op_name

if TYPE_CHECKING:
    from edgeseg.compress.quantize.paired_run import PairedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Inputs (places, groups, inputs of an output) and wanted outputs (places, groups, outputs of a group), no bias."""

    inputs: Tensor
    outputs: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def split(self, share: float) -> tuple[Patches, Patches]:
        """Return the first `share` of the places, and the others."""
        first = round(share * len(self))
        return (
            Patches(inputs=self.inputs[:first], outputs=self.outputs[:first]),
            Patches(inputs=self.inputs[first:], outputs=self.outputs[first:]),
        )

    def error(self, weight: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return the mean squared error of a weight (O, ...) at all places, or at the `chosen` ones; a scalar."""
        inputs = self.inputs if chosen is None else self.inputs[chosen]
        outputs = self.outputs if chosen is None else self.outputs[chosen]
        groups = inputs.shape[1]
        rows = weight.reshape(groups, weight.shape[0] // groups, -1)
        return (torch.einsum("pgk,gok->pgo", inputs, rows) - outputs).square().mean()


def sampled_patches(layer: PairedLayer, *, places: int, random: torch.Generator) -> Patches | None:
    """Return the int8 net's inputs and the float net's outputs of a layer at up to `places` places of its images.

    None for a layer that is neither a convolution nor a linear layer.
    """
    if op_name(layer.node) == "linear":
        return _of_linear(layer, places=places, random=random)
    return _of_convolution(layer, places=places, random=random) if layer.node.target in CONVOLUTION_OPS else None


def _of_linear(layer: PairedLayer, *, places: int, random: torch.Generator) -> Patches:
    inputs, outputs = layer.inputs.flatten(0, -2), _without_bias(layer).flatten(0, -2)
    chosen = torch.randperm(len(inputs), generator=random)[:places]
    return Patches(inputs=inputs[chosen].unsqueeze(1), outputs=outputs[chosen].unsqueeze(1))


def _of_convolution(layer: PairedLayer, *, places: int, random: torch.Generator) -> Patches:
    given = call_arguments(layer.node)
    kernel, groups = layer.weight.shape[2:], int(given["groups"])  # type: ignore[call-overload]
    (down, across), dilation = _two(given["stride"]), _two(given["dilation"])
    outputs = _without_bias(layer)
    images, channels, height, width = outputs.shape
    flat = torch.randperm(images * height * width, generator=random)[:places]
    image, row, column = flat // (height * width), flat // width % height, flat % width
    padded = _padded(layer.inputs, given["padding"], kernel=(kernel[0], kernel[1]), dilation=dilation)
    rows = row[:, None] * down + torch.arange(kernel[0]) * dilation[0]
    columns = column[:, None] * across + torch.arange(kernel[1]) * dilation[1]
    windows = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (places, h, w, channels)
    inputs = windows.permute(0, 3, 1, 2).reshape(len(flat), groups, -1)
    return Patches(inputs=inputs, outputs=outputs[image, :, row, column].reshape(len(flat), groups, channels // groups))


def _without_bias(layer: PairedLayer) -> Tensor:
    return layer.exact if layer.offset is None else layer.exact - layer.offset.view(layer.channels)


def _padded(values: Tensor, padding: object, *, kernel: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    if padding == "valid":
        return values
    if padding == "same":
        totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        top, left = totals[0] // 2, totals[1] // 2
        return torch.nn.functional.pad(values, (left, totals[1] - left, top, totals[0] - top))
    down, across = _two(padding)
    return torch.nn.functional.pad(values, (across, across, down, down))


def _two(value: Any) -> tuple[int, int]:
    pair = list(value) if isinstance(value, (list, tuple)) else [value]
    return int(pair[0]), int(pair[-1])
