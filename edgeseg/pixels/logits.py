"""An engine's output as real numbers: logits, and the probabilities that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeseg.core.spec import TensorSpec


def real_logits(output: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    """Return an engine's logits as (1, h, w, C) float32, dequantized where `tensor` is quantized."""
    values = output.astype(np.float32)
    if tensor.scale is not None:
        values = (values - np.float32(tensor.zero_point or 0)) * np.float32(tensor.scale)
    return values.transpose(0, 2, 3, 1) if tensor.layout == "NCHW" else values


def softmax(logits: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the softmax of float32 logits over an axis, in their own memory."""
    logits -= logits.max(axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=axis, keepdims=True)
    return logits


def probabilities(output: np.ndarray, tensor: TensorSpec, *, classes: int) -> np.ndarray:
    """Return the softmax of an engine's output as planes (C, h, w) float32; of labels, one whole vote a cell."""
    if tensor.role == "labels":
        return (output[0][None] == np.arange(classes)[:, None, None]).astype(np.float32)
    planes = np.ascontiguousarray(real_logits(output, tensor)[0].transpose(2, 0, 1))
    return softmax(planes, axis=0)
