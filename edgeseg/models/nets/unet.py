"""U-Net, U-Net++ and Attention U-Net.

Ronneberger et al., "U-Net", MICCAI 2015; Zhou et al., "UNet++", DLMIA 2018; Oktay et al., "Attention U-Net", MIDL 2018.
Convolutions are padded and batch-normalized, so that logits have the image's size.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, Resize, initialise

if TYPE_CHECKING:
    from collections.abc import Sequence

UNET_WIDTHS = (64, 128, 256, 512, 1024)
NESTED_WIDTHS = (32, 64, 128, 256, 512)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvNormAct(inputs, outputs), ConvNormAct(outputs, outputs))


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al., figure 2): the coarser map gates the skip, cell by cell, at its resolution."""

    def __init__(self, skip: int, gate: int) -> None:
        super().__init__()
        hidden = skip // 2
        self.skip = nn.Conv2d(skip, hidden, 2, stride=2, bias=False)
        self.gate = nn.Conv2d(gate, hidden, 1)
        self.relu = nn.ReLU()
        self.weight = nn.Sequential(nn.Conv2d(hidden, 1, 1), nn.Sigmoid(), Resize(2, 2))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """Return the skip, (N, C, h, w), weighted by the gate (N, G, h/2, w/2)."""
        y: Tensor = skip * self.weight(self.relu(self.skip(skip) + self.gate(gate)))
        return y


class UNet(nn.Module):
    """The contracting and expanding paths with skips, gated where `attention` is on; logits at the image's size."""

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        widths: Sequence[int] = UNET_WIDTHS,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            DoubleConv(before, after) for before, after in zip((inputs, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        pairs = list(itertools.pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, stride=2) for low, high in pairs)
        self.gates = nn.ModuleList(AttentionGate(low, high) for low, high in pairs if attention)
        self.merge = nn.ModuleList(DoubleConv(2 * low, low) for low, _ in pairs)
        self.classifier = nn.Conv2d(widths[0], classes, 1)
        self.aux = nn.ModuleList([AuxHead(widths[2], classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H, W) from normalized images x (N, inputs, H, W).

        In training mode with the auxiliary head: (logits, aux at stride 4).
        """
        skips = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        middle = x
        for index, (up, merge) in enumerate(zip(self.up, self.merge, strict=True)):
            skip = skips.pop()
            if len(self.gates):
                skip = self.gates[index](skip, x)
            x = merge(torch.cat([skip, up(x)], dim=1))
            middle = x if index == len(self.up) - 3 else middle
        logits: Tensor = self.classifier(x)
        if self.training and len(self.aux):
            return logits, self.aux[0](middle)
        return logits


class NestedUNet(nn.Module):
    """U-Net++: dense skips between both paths (figure 1a); with `aux` every level of the first row is supervised."""

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        widths: Sequence[int] = NESTED_WIDTHS,
    ) -> None:
        super().__init__()
        depth = len(widths)
        self.pool = nn.MaxPool2d(2)
        self.resize = Resize(2, 2)
        self.nodes = nn.ModuleDict()
        for row in range(depth):
            self.nodes[f"{row}_0"] = DoubleConv(inputs if row == 0 else widths[row - 1], widths[row])
            for column in range(1, depth - row):
                self.nodes[f"{row}_{column}"] = DoubleConv(column * widths[row] + widths[row + 1], widths[row])
        self.classifier = nn.Conv2d(widths[0], classes, 1)
        self.aux = nn.ModuleList(nn.Conv2d(widths[0], classes, 1) for _ in range(depth - 2 if aux else 0))
        self.depth = depth
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H, W) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux of the shallower nets, all at stride 1).
        """
        found: list[list[Tensor]] = []
        for row in range(self.depth):
            start = x if row == 0 else self.pool(found[row - 1][0])
            found.append([self.nodes[f"{row}_0"](start)])
        for column in range(1, self.depth):
            for row in range(self.depth - column):
                parts = [*found[row], self.resize(found[row + 1][column - 1])]
                found[row].append(self.nodes[f"{row}_{column}"](torch.cat(parts, dim=1)))
        first = found[0]
        logits: Tensor = self.classifier(first[-1])
        if self.training and len(self.aux):
            return logits, *(head(item) for head, item in zip(self.aux, first[1:-1], strict=True))
        return logits


PLAIN = Architecture(
    name="unet",
    build=UNet,
    output_stride=1,
    size_multiple=16,
    paper="Ronneberger et al.: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015",
    description="the classic of microscopy; logits at full size, heavy for small devices",
)
NESTED = Architecture(
    name="unet_plusplus",
    build=NestedUNet,
    output_stride=1,
    size_multiple=16,
    paper="Zhou et al.: UNet++: A Nested U-Net Architecture for Medical Image Segmentation, DLMIA 2018",
    description="U-Net with dense skips and deep supervision",
)
ATTENTION = Architecture(
    name="attention_unet",
    build=partial(UNet, attention=True),
    output_stride=1,
    size_multiple=16,
    paper="Oktay et al.: Attention U-Net: Learning Where to Look for the Pancreas, MIDL 2018",
    description="U-Net with skips gated by the coarser level",
)
