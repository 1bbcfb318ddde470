"""A compression stage: weights further than some deviations from a layer's mean are clipped.

Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting" (ICML 2019), the
clipping that it compares with: an outlier no longer stretches the int8 steps of its layer.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings(ImageSample):
    """The keys of the stage's table in a recipe."""

    deviations: float = 3.0

    def __post_init__(self) -> None:
        if self.deviations <= 0:
            raise ValueError("deviations must be above 0.")
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class ClipStage(ChangeStage):
    name: ClassVar[str] = "clip"
    does: ClassVar[str] = "clip outliers among the weights"

    settings: ClipSettings

    def preview(self, coming, *, data, probe):
        """Return the clipped net for the dry run, and leave `coming` alone."""
        net = copy.deepcopy(coming.net)
        self._clip(net)
        return dataclasses.replace(coming, net=net)

    def change(self, checkpoint, *, data, job):
        """Return the clipped net, and how many weights were clipped."""
        return Changed(net=checkpoint.net, spec=checkpoint.spec, account={"clipped": self._clip(checkpoint.net)})

    def _clip(self, net: nn.Module) -> int:
        clipped = 0
        for layer in net.modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            with torch.no_grad():
                weight = layer.weight
                middle, reach = weight.mean(), self.settings.deviations * weight.std()
                clipped += int(((weight - middle).abs() > reach).sum())
                weight.clamp_(middle - reach, middle + reach)
        return clipped
