"""Ops that work number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeseg.runtime.engines.mil.arguments import Arguments


def add(given: Arguments) -> np.ndarray:
    """Return x + y."""
    return np.add(given.tensor("x"), given.tensor("y"))


def subtract(given: Arguments) -> np.ndarray:
    """Return x - y."""
    return np.subtract(given.tensor("x"), given.tensor("y"))


def multiply(given: Arguments) -> np.ndarray:
    """Return x * y."""
    return np.multiply(given.tensor("x"), given.tensor("y"))


def divide(given: Arguments) -> np.ndarray:
    """Return x / y of real numbers."""
    return np.divide(given.tensor("x"), given.tensor("y"))


def maximum(given: Arguments) -> np.ndarray:
    """Return the larger of x and y."""
    return np.maximum(given.tensor("x"), given.tensor("y"))


def minimum(given: Arguments) -> np.ndarray:
    """Return the smaller of x and y."""
    return np.minimum(given.tensor("x"), given.tensor("y"))


def relu(given: Arguments) -> np.ndarray:
    """Return max(x, 0)."""
    return np.maximum(given.tensor("x"), np.float32(0))


def relu6(given: Arguments) -> np.ndarray:
    """Return x clipped to 0 .. 6."""
    return np.clip(given.tensor("x"), np.float32(0), np.float32(6))


def clip(given: Arguments) -> np.ndarray:
    """Return x clipped to alpha .. beta."""
    return np.clip(given.tensor("x"), np.float32(given.number("alpha", 0.0)), np.float32(given.number("beta", 1.0)))


def thresholded_relu(given: Arguments) -> np.ndarray:
    """Return x where it reaches alpha, 0 elsewhere."""
    x = given.tensor("x")
    return np.multiply(x, x >= np.float32(given.number("alpha", 1.0)), dtype=np.float32)


def sigmoid(given: Arguments) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    half = np.float32(0.5)
    return np.tanh(given.tensor("x") * half) * half + half


def hard_sigmoid(given: Arguments) -> np.ndarray:
    """Return alpha * x + beta clipped to 0 .. 1."""
    slope = given.tensor("x") * np.float32(given.number("alpha", 0.2))
    slope += np.float32(given.number("beta", 0.5))
    return np.clip(slope, np.float32(0), np.float32(1), out=slope)


def softmax(given: Arguments) -> np.ndarray:
    """Return exp(x) divided by its sum over one axis."""
    x = given.tensor("x")
    axis = given.integer("axis", -1)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def batch_norm(given: Arguments) -> np.ndarray:
    """Return gamma * (x - mean) / sqrt(variance + epsilon) + beta, per channel of x (N, C, ...)."""
    x = given.tensor("x")
    shape = (1, -1) + (1,) * (x.ndim - 2)
    factor = 1.0 / np.sqrt(given.tensor("variance") + np.float32(given.number("epsilon", 1e-5)))
    if given.has("gamma"):
        factor = factor * given.tensor("gamma")
    offset = -given.tensor("mean") * factor
    if given.has("beta"):
        offset = offset + given.tensor("beta")
    return x * factor.reshape(shape) + offset.reshape(shape)
