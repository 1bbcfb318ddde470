"""The deployment graph: an image in, logits or labels out, with normalisation inside unless the host does it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec

if TYPE_CHECKING:
    from edgeseg.core.protocols import Normalisation

DeployedOutput = Literal["logits", "labels", "full"]
"""What a graph ends with: logits or labels at the net's stride, or labels at the input's size, decoded exactly."""
RequestedOutput = Literal["logits", "labels", "full", "auto"]
"""A head, or "auto": the fastest one on the engine, decoding on the host included."""


class Deployed(nn.Module):
    """A net between an image and its output: batch 1, everything NHWC.

    Normalisation is one multiplication and one addition. Their constants span a whole row, (1, 1, W, 3): with constants
    of three channels, the kernels of LiteRT and ONNX Runtime work in strips of three numbers. With `normalisation`
    "host" the graph takes float32 values that the host has normalised.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        preprocess: Preprocess,
        width: int,
        output: DeployedOutput,
        normalisation: Normalisation = "graph",
    ) -> None:
        super().__init__()
        self.net = net
        self.output = output
        self.normalisation = normalisation
        std = torch.tensor(preprocess.std, dtype=torch.float64)
        mean = torch.tensor(preprocess.mean, dtype=torch.float64)
        self.factor: Tensor
        self.offset: Tensor
        self.register_buffer("factor", _row(preprocess.scale / std, width=width))
        self.register_buffer("offset", _row(-mean / std, width=width))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (1, h, w, C) float32 or labels (1, h, w) int32 from an image (1, H, W, 3), uint8 or float32."""
        pixels = image if self.normalisation == "host" else image.to(torch.float32) * self.factor + self.offset
        planes: Tensor = self.net(pixels.permute(0, 3, 1, 2))
        if self.output == "full":
            size = (image.shape[1], image.shape[2])
            planes = nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        logits = planes.permute(0, 2, 3, 1)
        return logits if self.output == "logits" else logits.argmax(-1).to(torch.int32)


def image_spec(spec: ModelSpec, *, normalisation: Normalisation = "graph") -> TensorSpec:
    """Return the deployment graph's input in the model's colour order: (1, H, W, 3) uint8, float32 for "host"."""
    height, width = spec.size
    dtype: Literal["float32", "uint8"] = "float32" if normalisation == "host" else "uint8"
    return TensorSpec(name="image", shape=(1, height, width, 3), dtype=dtype, layout="NHWC", role="image")


def answer_spec(spec: ModelSpec, *, output: DeployedOutput) -> TensorSpec:
    """Return the deployment graph's output, at the head's own resolution, or at the input's for "full"."""
    stride = 1 if output == "full" else spec.output_stride
    height, width = (side // stride for side in spec.size)
    if output != "logits":
        return TensorSpec(name="labels", shape=(1, height, width), dtype="int32", layout="NHW", role="labels")
    shape = (1, height, width, len(spec.classes))
    return TensorSpec(name="logits", shape=shape, dtype="float32", layout="NHWC", role="logits")


def preprocess_of(spec: ModelSpec, *, normalisation: Normalisation = "graph") -> Preprocess:
    """Return the preprocessing of the deployment graph's input tensor, which overrides the spec's."""
    return dataclasses.replace(spec.preprocess, in_graph=normalisation == "graph")


def taking_pixels(spec: ModelSpec) -> ModelSpec:
    """Return the spec of the same net with normalisation in the graph, for references and calibration."""
    return dataclasses.replace(spec, preprocess=preprocess_of(spec))


def _row(values: Tensor, *, width: int) -> Tensor:
    return values.to(torch.float32).reshape(1, 1, 1, 3).repeat(1, 1, width, 1)
