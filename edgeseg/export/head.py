"""The deployment graph: a uint8 image in, logits or labels out, preprocessing inside."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.errors import UnsupportedError

Output = Literal["logits", "labels"]


class Deployed(nn.Module):
    """A net between pixels and its answer, without batch dimension games: batch 1, everything NHWC.

    Normalisation is one multiplication and one addition. Their constants span a whole row, (1, 1, W, 3): over three
    channels alone the kernels of LiteRT and ONNX Runtime work in strips of three numbers.
    """

    def __init__(self, net: nn.Module, *, preprocess: Preprocess, width: int, output: Output) -> None:
        super().__init__()
        self.net = net
        self.output = output
        std = torch.tensor(preprocess.std, dtype=torch.float64)
        mean = torch.tensor(preprocess.mean, dtype=torch.float64)
        self.factor: Tensor
        self.offset: Tensor
        self.register_buffer("factor", _row(preprocess.scale / std, width=width))
        self.register_buffer("offset", _row(-mean / std, width=width))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (1, h, w, C) float32 or labels (1, h, w) int32 from an image (1, H, W, 3) uint8."""
        pixels = image.to(torch.float32) * self.factor + self.offset
        logits: Tensor = self.net(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return logits.argmax(-1).to(torch.int32) if self.output == "labels" else logits


def image_spec(spec: ModelSpec) -> TensorSpec:
    """Return the deployment graph's input: (1, H, W, 3) uint8, in the model's colour order."""
    height, width = spec.size
    return TensorSpec(name="image", shape=(1, height, width, 3), dtype="uint8", layout="NHWC", role="image")


def answer_spec(spec: ModelSpec, *, output: Output) -> TensorSpec:
    """Return the deployment graph's output, at the head's own resolution."""
    height, width = (side // spec.output_stride for side in spec.size)
    if output == "labels":
        return TensorSpec(name="labels", shape=(1, height, width), dtype="int32", layout="NHW", role="labels")
    shape = (1, height, width, len(spec.classes))
    return TensorSpec(name="logits", shape=shape, dtype="float32", layout="NHWC", role="logits")


def check_preprocess(preprocess: Preprocess) -> None:
    """Raise `UnsupportedError` where the host is to normalise: the graph here takes pixels."""
    if not preprocess.in_graph:
        raise UnsupportedError(
            "This checkpoint's spec says that the host normalises (preprocess.in_graph = false); the deployment graph "
            "takes uint8 pixels. Set in_graph = true in its spec.json."
        )


def _row(values: Tensor, *, width: int) -> Tensor:
    return values.to(torch.float32).reshape(1, 1, 1, 3).repeat(1, 1, width, 1)
