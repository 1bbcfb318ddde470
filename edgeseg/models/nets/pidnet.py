"""PIDNet-S: Xu et al., "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers", CVPR 2023."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import ConvNormAct, Resize, initialise
from edgeseg.models.blocks.pooling import PAPPM
from edgeseg.models.blocks.pyramid_pooling import resize_between
from edgeseg.models.blocks.residual import ResidualBlock, ResidualBottleneck, residual_stage
from edgeseg.models.nets.ddrnet import SegmentationHead, SharedTrunk, branch_grids

_WIDTH = 32
_POOLING_CHANNELS = 96
_HEAD_CHANNELS = 128
ATTENTION_CHANNELS = 32


class PixelAttention(nn.Module):
    """Pixel-attention-guided fusion (figure 4): the similarity of two maps weighs them cell by cell."""

    def __init__(self, channels: int, *, scale: int) -> None:
        super().__init__()
        self.own = ConvNormAct(channels, ATTENTION_CHANNELS, kernel=1, activation=None)
        self.other = ConvNormAct(channels, ATTENTION_CHANNELS, kernel=1, activation=None)
        self.resize = Resize(scale, scale)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return (N, C, h, w) from x (N, C, h, w) and other (N, C, h / scale, w / scale)."""
        alike = (self.own(x) * self.resize(self.other(other))).sum(1, keepdim=True).sigmoid()
        y: Tensor = (1.0 - alike) * x + alike * self.resize(other)
        return y


class BoundaryAttention(nn.Module):
    """The light boundary-attention-guided fusion (figure 7): details at boundaries, context elsewhere."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.detail = ConvNormAct(inputs, outputs, kernel=1, activation=None)
        self.context = ConvNormAct(inputs, outputs, kernel=1, activation=None)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from the three branches, (N, inputs, h, w) each."""
        edge = boundary.sigmoid()
        y: Tensor = self.detail((1.0 - edge) * context + detail) + self.context(context + edge * detail)
        return y


class PIDNetSmall(SharedTrunk):
    """Branches for detail (P), context (I) and boundaries (D) that meet at stride 8; logits at stride 8.

    `activate_bottlenecks` is whether a ReLU follows the first of the context's two bottlenecks. The paper leaves it
    open; in the authors' code none does, and public weights need it off.
    """

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        activate_bottlenecks: bool = True,
    ) -> None:
        super().__init__(width=_WIDTH, inputs=inputs)
        high = 2 * _WIDTH
        grid8, grid64 = branch_grids(size)
        self.context3 = residual_stage(high, 4 * _WIDTH, blocks=3, stride=2)
        self.context4 = residual_stage(4 * _WIDTH, 8 * _WIDTH, blocks=3, stride=2)
        self.context5 = nn.Sequential(
            ResidualBottleneck(8 * _WIDTH, 8 * _WIDTH, stride=2, activate=activate_bottlenecks),
            ResidualBottleneck(16 * _WIDTH, 8 * _WIDTH),
        )
        self.detail3 = residual_stage(high, high, blocks=2)
        self.detail4 = residual_stage(high, high, blocks=2)
        self.detail5 = ResidualBottleneck(high, high)
        self.boundary3 = ResidualBlock(high, _WIDTH, activate=False)
        self.boundary4 = ResidualBottleneck(_WIDTH, _WIDTH)
        self.boundary5 = ResidualBottleneck(high, high)
        self.compress3 = ConvNormAct(4 * _WIDTH, high, kernel=1, activation=None)
        self.compress4 = ConvNormAct(8 * _WIDTH, high, kernel=1, activation=None)
        self.attend3 = PixelAttention(high, scale=2)
        self.attend4 = PixelAttention(high, scale=4)
        self.difference3 = nn.Sequential(ConvNormAct(4 * _WIDTH, _WIDTH, activation=None), Resize(2, 2))
        self.difference4 = nn.Sequential(ConvNormAct(8 * _WIDTH, high, activation=None), Resize(4, 4))
        self.pooling = PAPPM(16 * _WIDTH, _POOLING_CHANNELS, 4 * _WIDTH, grid=grid64)
        self.resize = resize_between(grid64, grid8)
        self.fusion = BoundaryAttention(4 * _WIDTH, 4 * _WIDTH)
        self.head = SegmentationHead(4 * _WIDTH, _HEAD_CHANNELS, classes)
        heads = (SegmentationHead(high, _HEAD_CHANNELS, classes), SegmentationHead(high, _WIDTH, 1)) if aux else ()
        self.aux = nn.ModuleList(heads)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux on the detail branch, boundary logits (N, 1, H/8, W/8)).
        """
        relu = self.relu
        shared = self.trunk(x)
        detail, boundary, context = self.detail3(shared), self.boundary3(shared), relu(self.context3(shared))
        detail = self.attend3(detail, self.compress3(context))
        boundary = boundary + self.difference3(context)
        early = detail
        context = relu(self.context4(context))
        detail, boundary = self.detail4(relu(detail)), self.boundary4(relu(boundary))
        detail = self.attend4(detail, self.compress4(context))
        boundary = boundary + self.difference4(context)
        edges = boundary
        detail, boundary = self.detail5(relu(detail)), self.boundary5(relu(boundary))
        context = self.resize(self.pooling(self.context5(context)))
        logits: Tensor = self.head(self.fusion(detail, context, boundary))
        if self.training and len(self.aux):
            return logits, self.aux[0](early), self.aux[1](edges)
        return logits


PIDNET_S = Architecture(
    name="pidnet_s",
    build=PIDNetSmall,
    output_stride=8,
    size_multiple=32,
    paper="Xu et al.: PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers, CVPR 2023",
    description="DDRNet's successor: a third branch finds boundaries, where details are used",
)
