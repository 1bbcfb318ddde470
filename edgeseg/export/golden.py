"""The golden sample: a rendered street, free of other people's rights, and the float net's output for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.data.streets import render_street
from edgeseg.pixels import fit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from edgeseg.core.spec import ModelSpec

STREET_SEED = 2_026


def golden_image(spec: ModelSpec) -> np.ndarray:
    """Return the sample image at the model's input size, (H, W, 3) uint8 BGR."""
    image, _ = render_street(STREET_SEED)
    fitted = fit(image, preprocess=dataclasses.replace(spec.preprocess, color_order="bgr"), size=spec.size)
    return np.ascontiguousarray(fitted)


def float_answer(deployed: nn.Module, tensor: NDArray[Any]) -> NDArray[Any]:
    """Return the float deployment graph's output for its input tensor (1, H, W, 3), batch dimension included."""
    import torch

    with torch.no_grad():
        answer = deployed(torch.from_numpy(tensor))
    return np.ascontiguousarray(answer.numpy())
