"""Recomputes the batch norm statistics of a pruned net from images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.train.samples import Batch


def recalibrate(net: nn.Module, batches: Sequence[Batch]) -> None:
    """Set every batch norm's running mean and variance, in place, to the average over `batches`.

    The following norms thus compensate for the mean of removed channels (Li et al., EagleEye, ECCV 2020, section 3.3).
    Weights do not change; the net is left in evaluation mode.

    Raises:
        InputError: a batch of one image, for which a pooled map has no variance.
    """
    if any(len(images) < 2 for images, _ in batches):
        raise InputError("Batch norm statistics need batches of two images or more. Give larger batches.")
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    with torch.no_grad():
        for images, _ in batches:
            net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
