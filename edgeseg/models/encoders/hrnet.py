"""HRNet-W18-small: Sun et al., "High-Resolution Representations for Labeling Pixels and Regions", 2019, section 3."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.blocks.layers import ConvNormAct, Resize
from edgeseg.models.blocks.residual import ResidualBlock
from edgeseg.models.encoders.resnet import Bottleneck

# The reference's "small v2": modules and blocks of each stage after the stem's bottlenecks, and the widths at strides
# 4, 8, 16 and 32.
_WIDTHS = (18, 36, 72, 144)
_MODULES = (1, 3, 2)
BLOCKS = 2
_STEM_CHANNELS = 64
STEM_BLOCKS = 2


class Exchange(nn.Module):
    """One module: residual blocks on every resolution, then every output is the sum of all, resized."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, width) for _ in range(BLOCKS))) for width in widths
        )
        self.fuse = nn.ModuleList(
            nn.ModuleList(_path(widths, source=source, target=target) for source in range(len(widths)))
            for target in range(len(widths))
        )
        self.relu = nn.ReLU()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return features with the shapes of the given ones."""
        own = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        found = []
        for paths in self.fuse:
            first, *others = (path(x) for path, x in zip(paths.children(), own, strict=True))
            total = first
            for part in others:
                total = total + part
            found.append(self.relu(total))
        return found


class HRNetSmall(nn.Module):
    """Four parallel resolutions; features at strides 4, 8, 16 and 32."""

    def __init__(self, *, inputs: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormAct(inputs, _STEM_CHANNELS, stride=2), ConvNormAct(_STEM_CHANNELS, _STEM_CHANNELS, stride=2)
        )
        width = _STEM_CHANNELS * Bottleneck.expansion
        self.layer1 = nn.Sequential(
            Bottleneck(_STEM_CHANNELS, _STEM_CHANNELS, stride=1),
            *(Bottleneck(width, _STEM_CHANNELS, stride=1) for _ in range(STEM_BLOCKS - 1)),
        )
        self.first = nn.ModuleList([ConvNormAct(width, _WIDTHS[0]), ConvNormAct(width, _WIDTHS[1], stride=2)])
        self.third = ConvNormAct(_WIDTHS[1], _WIDTHS[2], stride=2)
        self.fourth = ConvNormAct(_WIDTHS[2], _WIDTHS[3], stride=2)
        self.stages = nn.ModuleList(
            nn.ModuleList(Exchange(_WIDTHS[: index + 2]) for _ in range(count)) for index, count in enumerate(_MODULES)
        )
        self.channels = _WIDTHS

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features at strides 4, 8, 16 and 32 of x (N, inputs, H, W)."""
        x = self.layer1(self.stem(x))
        features = [branch(x) for branch in self.first]
        for stage, grow in zip(self.stages, (None, self.third, self.fourth), strict=True):
            if grow is not None:
                features = [*features, grow(features[-1])]
            for module in stage.children():
                features = module(features)
        return features


def _path(widths: tuple[int, ...], *, source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        factor = 2 ** (source - target)
        return nn.Sequential(
            ConvNormAct(widths[source], widths[target], kernel=1, activation=None), Resize(factor, factor)
        )
    steps = target - source
    layers: list[nn.Module] = [ConvNormAct(widths[source], widths[source], stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*layers, ConvNormAct(widths[source], widths[target], stride=2, activation=None))
