"""A small two-branch net, written as `nn.Sequential` and with conv/bn/act attributes: the same computation twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = (64, 64)
CLASSES = 4
NORMS = 9


class Attributes(nn.Module):
    """Convolution, batch norm and ReLU as attributes, registered in another order than they are called."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


def sequential(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    """Return what `Attributes` computes."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Expand(nn.Module):
    """Expand, depthwise, project with a residual, as BiSeNetV2's gather-and-expand layer."""

    def __init__(self, channels: int, block: type[Attributes] | object) -> None:
        super().__init__()
        self.expand = block(channels, 2 * channels)  # type: ignore[operator]
        self.depthwise = block(2 * channels, 2 * channels, groups=2 * channels)  # type: ignore[operator]
        self.project = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.project(self.depthwise(self.expand(x)))))


class Squeeze(nn.Module):
    """A squeeze-and-excite gate of linear layers, functional throughout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 8), nn.Linear(8, channels)

    def forward(self, x: Tensor) -> Tensor:
        factors = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


class TwoBranches(nn.Module):
    """Logits at stride 4 of a detail and a semantic branch that guide each other."""

    def __init__(self, block: type[Attributes] | object) -> None:
        super().__init__()
        self.stem = block(3, 16, stride=2)  # type: ignore[operator]
        self.detail = block(16, 32, stride=2)  # type: ignore[operator]
        self.down = block(16, 16, stride=4)  # type: ignore[operator]
        self.semantic = nn.Sequential(Expand(16, block), Squeeze(16), block(16, 32, kernel=1))  # type: ignore[operator]
        self.guide = nn.Conv2d(32, 32, 1, bias=False)
        self.guide_norm = nn.BatchNorm2d(32)
        self.head = block(32, 32)  # type: ignore[operator]
        self.classifier = nn.Conv2d(32, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        detail, semantic = self.detail(x), self.semantic(self.down(x))
        up = F.interpolate(semantic, size=detail.shape[2:], mode="bilinear", align_corners=False)
        guided = detail * torch.sigmoid(self.guide_norm(self.guide(up)))
        fused = guided + F.adaptive_avg_pool2d(semantic, 1)
        logits: Tensor = self.classifier(F.dropout(self.head(fused), 0.1, self.training))
        return logits


def both() -> tuple[nn.Module, nn.Module]:
    """Return the net in both writings, with the same weights and trained-looking norms."""
    torch.manual_seed(0)
    first, second = TwoBranches(sequential), TwoBranches(Attributes)
    for kind in (nn.Conv2d, nn.Linear, nn.BatchNorm2d):
        pairs = zip(_of(first, kind), _of(second, kind), strict=True)
        for mine, other in pairs:
            if isinstance(mine, nn.BatchNorm2d):
                nn.init.uniform_(mine.weight, 0.5, 1.5)
                nn.init.normal_(mine.bias, 0.0, 0.3)
                nn.init.normal_(mine.running_mean, 0.0, 0.2)  # type: ignore[arg-type]
                nn.init.uniform_(mine.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            other.load_state_dict(mine.state_dict())
    return first.eval(), second.eval()


def noise(count: int = 2) -> Tensor:
    """Return images (count, 3, *SIZE) of noise, the same every time."""
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def _of(net: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, kind)]
