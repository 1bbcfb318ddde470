"""The net as deployment wants it: batch norms folded into convolutions, global pools as plain means."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Return a copy of net, in evaluation mode, in which every `Conv2d, BatchNorm2d` of a Sequential is one Conv2d.

    Exact in real numbers: w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps). A batch norm
    that follows no convolution stays.
    """
    folded = copy.deepcopy(net).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            _fold_pairs(module)
    return folded


class GlobalMean(nn.Module):
    """What AdaptiveAvgPool2d(1) computes; exporters turn that one into Reshape and Gather beside the mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, 1, 1) from x (N, C, h, w)."""
        return x.mean((2, 3), keepdim=True)


def simplify(net: nn.Module) -> nn.Module:
    """Replace, in place, every AdaptiveAvgPool2d to one cell by `GlobalMean`, drop the dropouts, and return net."""
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, GlobalMean())
            elif isinstance(child, nn.Dropout):
                setattr(parent, name, nn.Identity())
    return net


def _fold_pairs(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        conv, norm = block[index], block[index + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[index] = fuse_conv_bn_eval(conv, norm)
            block[index + 1] = nn.Identity()
