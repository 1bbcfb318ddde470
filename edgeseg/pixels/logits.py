"""An engine's output as real numbers: logits and probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.spec import TensorSpec


SMALLEST_PROBABILITY = 1e-6
"""Smaller ones, as 8 bits or a saturated sigmoid give, are replaced before the logarithm."""


def real_logits(output: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    """Return an engine's logits as (1, h, w, C) float32, dequantized where `tensor` is quantized.

    Of probabilities it returns the logarithm, whose softmax they are.
    """
    values = output.astype(np.float32)
    if tensor.scale is not None:
        values = (values - np.float32(tensor.zero_point or 0)) * np.float32(tensor.scale)
    if tensor.values == "probabilities":
        values = np.log(np.maximum(values, np.float32(SMALLEST_PROBABILITY)))
    return values.transpose(0, 2, 3, 1) if tensor.layout == "NCHW" else values


def softmax(logits: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Return the softmax of float32 logits over an axis, computed in place.

    >>> softmax(np.zeros((1, 4), np.float32), axis=1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    logits -= logits.max(axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=axis, keepdims=True)
    return logits


def probabilities(output: NDArray[Any], tensor: TensorSpec, *, classes: int) -> NDArray[np.float32]:
    """Return the softmax of an engine's output as planes (C, h, w) float32; labels are one-hot encoded."""
    if tensor.role == "labels":
        result: NDArray[np.float32] = (output[0][None] == np.arange(classes)[:, None, None]).astype(np.float32)
        return result
    planes = np.ascontiguousarray(real_logits(output, tensor)[0].transpose(2, 0, 1))
    return softmax(planes, axis=0)
