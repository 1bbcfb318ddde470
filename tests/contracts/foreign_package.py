"""A package that knows nothing of edgeseg: nets in habits of their own, written to a folder for tests to import."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NETS = '''
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, i, o, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(o)
        self.act = nn.PReLU(o)

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, dim, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x):
        n, t, c = x.shape
        shape = n, t, self.num_heads, c // self.num_heads
        q, k, v = (part(x).reshape(shape).transpose(1, 2) for part in (self.q, self.k, self.v))
        a = (q @ k.transpose(-2, -1) * (c // self.num_heads) ** -0.5).softmax(-1) @ v
        return self.proj(a.transpose(1, 2).reshape(n, t, c))


class Net(nn.Module):
    """Attributes, depthwise, LayerNorm, GroupNorm, ConvTranspose2d; returns a tuple of main and middle logits."""

    def __init__(self, num_classes=11, width=32):
        super().__init__()
        self.stem = Block(3, width, stride=2)
        self.down = Block(width, width, stride=2, groups=width)
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.norm = LayerNorm2d(2 * width)
        self.mix = nn.Conv2d(2 * width, 2 * width, 3, 2, 1)
        self.group = nn.GroupNorm(4, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.side = nn.Conv2d(2 * width, num_classes, 1)

    def forward(self, x):
        x = F.gelu(self.norm(self.point(self.down(self.stem(x)))))
        y = torch.relu(self.group(self.mix(x)))
        return self.head(torch.relu(self.up(y))), self.side(y)


class Former(nn.Module):
    """Attention and MLP written by Linear layers; logits at stride 8 in a dict."""

    def __init__(self, num_classes=11, dim=32):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 8, 8)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.head = nn.Sequential(nn.Conv2d(dim, 4 * dim, 1), nn.ReLU(), nn.Conv2d(4 * dim, num_classes, 1))

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        t = x.flatten(2).transpose(1, 2)
        t = t + self.attention(self.norm1(t))
        t = t + self.fc2(F.gelu(self.fc1(self.norm2(t))))
        return {"out": self.head(t.transpose(1, 2).reshape(n, c, h, w))}


class Tail(nn.Module):
    """A small net whose end is chosen by `end`."""

    def __init__(self, end="logits", num_classes=11, align_corners=False):
        super().__init__()
        self.end, self.align_corners = end, align_corners
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, num_classes, 3, 2, 1))

    def forward(self, x):
        z = self.body(x)
        if "up" in self.end:
            z = F.interpolate(z, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)
        if "softmax" in self.end:
            z = torch.softmax(z, dim=1)
        if "sigmoid" in self.end:
            z = torch.sigmoid(z)
        if "inplace" in self.end:
            z = z.sigmoid_()
        if "expit" in self.end:
            z = torch.special.expit(z)
        if "clamped" in self.end:
            z = z.clamp(0, 1)
        if "plane" in self.end:
            z = z[:, 0]
        if "latesize" in self.end:
            z = F.interpolate(z, scale_factor=8, mode="bilinear")
        if "argmax" in self.end:
            z = z.argmax(1, keepdim="keep" in self.end)
        if "largest" in self.end:
            z = torch.max(z, dim=1)[1].to(torch.uint8)
        if "half" in self.end:
            z = (z > 0.5).float()
        if "positive" in self.end:
            z = z.ge(0)
        if "third" in self.end:
            z = z > 0.3
        if "object" in self.end:
            return type("Output", (), {"logits": z})()
        if "list" in self.end:
            return [z, x]
        if "named" in self.end:
            return {"semantic": z, "loss": None}
        return z


class Sized(nn.Module):
    """Its parameters do not depend on the size, its pooling does."""

    def __init__(self, num_classes, size):
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(3, num_classes, 3, 8, 1)

    def forward(self, x):
        z = self.conv(x)
        assert x.shape[-2:] == torch.Size(self.size), "built for another size"
        return z + F.interpolate(F.avg_pool2d(z, (self.size[0] // 8, self.size[1] // 8)), size=z.shape[-2:])


def build(num_classes=11, width=32) -> nn.Module:
    return Net(num_classes, width)


def unannotated(num_classes=11):
    return Net(num_classes)


def broken(num_classes=11) -> nn.Module:
    raise RuntimeError("no such backbone")


def number(num_classes=11) -> nn.Module:
    return 7
'''

SPEC = """
schema = 1
name = "mine"
classes = {classes}
size = [64, 96]
{more}
"""
STREET_CLASSES = 11


@contextmanager
def foreign_package(folder: Path, name: str = "strange_nets") -> Iterator[str]:
    """Write the package into `folder`, put it on sys.path, and yield the module's name."""
    (folder / f"{name}.py").write_text(NETS, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield name
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)


def write_spec(folder: Path, *, classes: object = STREET_CLASSES, more: str = "") -> Path:
    """Write a spec.toml for 64x96 images."""
    path = folder / "spec.toml"
    path.write_text(SPEC.format(classes=classes, more=more), encoding="utf-8")
    return path


def settle(net: torch.nn.Module) -> torch.nn.Module:
    """Give a fresh net norms and heads that differ from channel to channel, as training would."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    return net.eval()
