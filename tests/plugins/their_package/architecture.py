"""An architecture by name: blocks with conv, bn and act attributes, logits at stride 8."""

from torch import nn

from edgeseg.models import Architecture


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class TheirNet(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Block(3, 16, stride=2)
        self.depthwise = Block(16, 16, stride=2, groups=16)
        self.down = Block(16, 32, stride=2)
        self.residual = Block(32, 32)
        self.classifier = nn.Conv2d(32, classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)  # the first loss is that of a guess

    def forward(self, x):
        x = self.down(self.depthwise(self.stem(x)))
        return self.classifier(x + self.residual(x))


def build(*, classes: int, size: tuple[int, int]) -> nn.Module:
    """Return the net with fresh weights; its layers do not depend on the input size."""
    return TheirNet(classes)


ARCHITECTURE = Architecture(
    name="their_net",
    build=build,
    output_stride=8,
    size_multiple=8,
    paper="none",
    description="a small example of a net outside edgeseg",
)
