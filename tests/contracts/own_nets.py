"""Nets as people bring them, each in the habits of the library that it stands for; none knows edgeseg."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


def conv_norm(i, o, kernel=3, *, stride=1, groups=1, act=nn.Hardswish):
    conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o, eps=0.001), *([act(inplace=True)] if act else []))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeeze, 1), nn.Conv2d(squeeze, channels, 1)
        self.activation, self.scale_activation = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x):
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class InvertedResidual(nn.Module):
    def __init__(self, i, expanded, o, stride, se):
        super().__init__()
        self.use_res_connect = stride == 1 and i == o
        layers = [conv_norm(i, expanded, 1), conv_norm(expanded, expanded, 3, stride=stride, groups=expanded)]
        layers += [SqueezeExcitation(expanded, expanded // 4)] if se else []
        self.block = nn.Sequential(*layers, conv_norm(expanded, o, 1, act=None))

    def forward(self, x):
        return x + self.block(x) if self.use_res_connect else self.block(x)


class LRASPPHead(nn.Module):
    def __init__(self, low, high, classes, inter=64):
        super().__init__()
        self.cbr = conv_norm(high, inter, 1, act=nn.ReLU)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, inter, 1, bias=False), nn.Sigmoid())
        self.low_classifier, self.high_classifier = nn.Conv2d(low, classes, 1), nn.Conv2d(inter, classes, 1)

    def forward(self, features):
        low, high = features["low"], features["high"]
        x = self.cbr(high) * self.scale(high)
        x = F.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return self.low_classifier(low) + self.high_classifier(x)


class Features(nn.ModuleDict):
    """torchvision's IntermediateLayerGetter: children in order, some of their outputs in a dict."""

    def __init__(self, layers, taken):
        super().__init__({str(index): layer for index, layer in enumerate(layers)})
        self.taken = taken

    def forward(self, x):
        out = OrderedDict()
        for name, layer in self.items():
            x = layer(x)
            if name in self.taken:
                out[self.taken[name]] = x
        return out


class LRASPP(nn.Module):
    """torchvision's layout on a small MobileNetV3: a dict whose "out" has the image's size."""

    def __init__(self, num_classes=3):
        super().__init__()
        layers = [
            conv_norm(3, 16, 3, stride=2), InvertedResidual(16, 32, 16, 2, se=True),
            InvertedResidual(16, 64, 24, 2, se=False),
            InvertedResidual(24, 96, 24, 1, se=True), InvertedResidual(24, 96, 40, 2, se=True),
            InvertedResidual(40, 120, 40, 1, se=True), conv_norm(40, 128, 1),
        ]  # fmt: skip
        self.backbone = Features(layers, {"3": "low", "6": "high"})
        self.classifier = LRASPPHead(24, 128, num_classes)

    def forward(self, x):
        result = OrderedDict()
        result["out"] = F.interpolate(
            self.classifier(self.backbone(x)), size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        return result


def segformer(num_labels=3) -> nn.Module:
    """The real SegFormer-B0 of transformers, from its configuration."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=num_labels))


class BasicBlock(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        same = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + same)


class ResNet18(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.channels = [3, width, width, 2 * width, 4 * width, 8 * width]
        sizes = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 8 * width, 2)]
        for index, (i, o, stride) in enumerate(sizes, 1):
            setattr(self, f"layer{index}", nn.Sequential(BasicBlock(i, o, stride), BasicBlock(o, o, 1)))

    def forward(self, x):
        features = [x, self.relu(self.bn1(self.conv1(x)))]
        y = self.maxpool(features[-1])
        for index in range(1, 5):
            y = getattr(self, f"layer{index}")(y)
            features.append(y)
        return features


class Conv2dReLU(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class DecoderBlock(nn.Module):
    def __init__(self, i, skip, o):
        super().__init__()
        self.conv1, self.conv2 = Conv2dReLU(i + skip, o), Conv2dReLU(o, o)

    def forward(self, x, skip=None):
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.conv2(self.conv1(x if skip is None else torch.cat([x, skip], dim=1)))


class Unet(nn.Module):
    """segmentation_models.pytorch's layout: encoder, decoder of blocks, head; logits at the image's size."""

    def __init__(self, classes=3, width=64, decoder_channels=(256, 128, 64, 32, 16)):
        super().__init__()
        self.encoder = ResNet18(width)
        skips = [*self.encoder.channels[1:-1][::-1], 0]
        inputs = [self.encoder.channels[-1], *decoder_channels[:-1]]
        self.decoder = nn.Module()
        self.decoder.blocks = nn.ModuleList(map(DecoderBlock, inputs, skips, decoder_channels))
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(decoder_channels[-1], classes, 3, padding=1), nn.Identity(), nn.Identity()
        )

    def forward(self, x):
        first, *others = self.encoder(x)[1:][::-1]
        for index, block in enumerate(self.decoder.blocks):
            first = block(first, others[index] if index < len(others) else None)
        return self.segmentation_head(first)


class Body(nn.Module):
    """Plain stages with a skip; what `end` says is done to its logits."""

    def __init__(self, classes=3, end="argmax"):
        super().__init__()
        self.end = end
        self.stem = Conv2dReLU(3, 24)
        self.down = nn.Conv2d(24, 48, 3, 2, 1)
        self.norm = nn.BatchNorm2d(48)
        self.deep = nn.Sequential(nn.Conv2d(48, 96, 3, 2, 1), nn.BatchNorm2d(96), nn.SiLU())
        self.up = nn.ConvTranspose2d(96, 48, 2, 2)
        self.head, self.side = nn.Conv2d(48, classes, 1), nn.Conv2d(96, classes, 1)

    def forward(self, x):
        y = F.relu(self.norm(self.down(F.max_pool2d(self.stem(x), 2))))
        deep = self.deep(y)
        z = self.head(F.relu(self.up(deep)) + y)
        if self.end == "tuple":
            return z, self.side(deep)
        if self.end == "dict":
            return {"logits": z, "aux": self.side(deep)}
        z = F.interpolate(z, size=x.shape[2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(z) if self.end == "sigmoid" else torch.softmax(z, dim=1).argmax(dim=1)
