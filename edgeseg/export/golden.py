"""The golden sample: a rendered street, so that it is free of anyone's rights, and the float net's answer to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets import render_street
from edgeseg.pixels import fit

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.core.spec import ModelSpec

STREET_SEED = 2_026


def golden_image(spec: ModelSpec) -> np.ndarray:
    """Return the sample image at the model's input size, (H, W, 3) uint8 in its colour order."""
    image, _ = render_street(STREET_SEED)
    return np.ascontiguousarray(fit(image, preprocess=spec.preprocess, size=spec.size))


def float_answer(deployed: nn.Module, image: np.ndarray) -> np.ndarray:
    """Return what the float deployment graph gives for an image (H, W, 3), with its batch dimension."""
    import torch

    with torch.no_grad():
        answer = deployed(torch.from_numpy(image)[None])
    return np.ascontiguousarray(answer.numpy())
