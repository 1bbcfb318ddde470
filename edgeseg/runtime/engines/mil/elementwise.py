"""Element-wise ops, and the norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeseg.runtime.engines.mil.arguments import Arguments


def of_x(function: np.ufunc) -> Callable[[Arguments], NDArray[Any]]:
    """Return the kernel that applies numpy's function to x, element by element."""

    def compute(given: Arguments) -> NDArray[Any]:
        y: NDArray[Any] = function(given.tensor("x"))
        return y

    return compute


def of_x_and_y(function: np.ufunc) -> Callable[[Arguments], NDArray[Any]]:
    """Return the kernel that applies numpy's function to x and y, element by element."""

    def compute(given: Arguments) -> NDArray[Any]:
        z: NDArray[Any] = function(given.tensor("x"), given.tensor("y"))
        return z

    return compute


def relu(given: Arguments) -> NDArray[Any]:
    """Return max(x, 0)."""
    y: NDArray[Any] = np.maximum(given.tensor("x"), np.float32(0))
    return y


def relu6(given: Arguments) -> NDArray[Any]:
    """Return x clipped to 0 .. 6."""
    y: NDArray[Any] = np.clip(given.tensor("x"), np.float32(0), np.float32(6))
    return y


def clip(given: Arguments) -> NDArray[Any]:
    """Return x clipped to alpha .. beta."""
    low, high = np.float32(given.number("alpha", 0.0)), np.float32(given.number("beta", 1.0))
    y: NDArray[Any] = np.clip(given.tensor("x"), low, high)
    return y


def thresholded_relu(given: Arguments) -> NDArray[Any]:
    """Return x where it reaches alpha, 0 elsewhere."""
    x = given.tensor("x")
    y: NDArray[Any] = np.multiply(x, x >= np.float32(given.number("alpha", 1.0)), dtype=np.float32)
    return y


def sigmoid(given: Arguments) -> NDArray[Any]:
    """Return 1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    half = np.float32(0.5)
    return np.tanh(given.tensor("x") * half) * half + half


def silu(given: Arguments) -> NDArray[Any]:
    """Return x * sigmoid(x)."""
    y: NDArray[Any] = given.tensor("x") * sigmoid(given)
    return y


def inverse_square_root(given: Arguments) -> NDArray[Any]:
    """Return 1 / sqrt(x + epsilon)."""
    return 1 / np.sqrt(given.tensor("x") + np.float32(given.number("epsilon", 1e-12)))


def leaky_relu(given: Arguments) -> NDArray[Any]:
    """Return x where it is positive, alpha * x elsewhere."""
    x = given.tensor("x")
    return np.where(x > 0, x, x * np.float32(given.number("alpha", 0.01)))


def elu(given: Arguments) -> NDArray[Any]:
    """Return x where it is positive, alpha * (exp(x) - 1) elsewhere."""
    x = given.tensor("x")
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)) * np.float32(given.number("alpha", 1.0)))


def prelu(given: Arguments) -> NDArray[Any]:
    """Return x where it is positive, alpha * x elsewhere, alpha per channel of x (N, C, ...)."""
    x = given.tensor("x")
    return np.where(x > 0, x, x * given.tensor("alpha").reshape((1, -1) + (1,) * (x.ndim - 2)))


def gelu(given: Arguments) -> NDArray[Any]:
    """Return x times the normal distribution at x, exactly or by one of MIL's two approximations."""
    x, mode = given.tensor("x"), given.text("mode", "EXACT")
    half = np.float32(0.5)
    y: NDArray[Any]
    if mode == "TANH_APPROXIMATION":
        y = half * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))
    elif mode == "SIGMOID_APPROXIMATION":
        y = x * (np.tanh(np.float32(1.702) * x * half) * half + half)
    else:
        y = half * x * (1 + error_function(x * np.float32(0.7071067812)))
    return y


def error_function(x: NDArray[Any]) -> NDArray[Any]:
    """Return erf(x) to 1.5e-7, by formula 7.1.26 of Abramowitz and Stegun; numpy has none."""
    size = np.abs(x, dtype=np.float64)
    t = 1 / (1 + 0.3275911 * size)
    terms = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    total = sum(factor * t ** (order + 1) for order, factor in enumerate(terms))
    return np.asarray(np.sign(x) * (1 - total * np.exp(-size * size)), np.float32)


def hard_sigmoid(given: Arguments) -> NDArray[Any]:
    """Return alpha * x + beta clipped to 0 .. 1."""
    slope = given.tensor("x") * np.float32(given.number("alpha", 0.2))
    slope += np.float32(given.number("beta", 0.5))
    return np.clip(slope, np.float32(0), np.float32(1), out=slope)


def softmax_over_axis(given: Arguments) -> NDArray[Any]:
    """Return exp(x) divided by its sum over one axis."""
    x = given.tensor("x")
    axis = given.integer("axis", -1)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def batch_norm(given: Arguments) -> NDArray[Any]:
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


def layer_norm(given: Arguments) -> NDArray[Any]:
    """Return gamma * (x - mean) / sqrt(variance + epsilon) + beta, over axes."""
    x = given.tensor("x")
    axes = given.integers("axes", ()) or tuple(range(x.ndim))
    y = _standardised(x, axes, np.float32(given.number("epsilon", 1e-5)))
    if given.has("gamma"):
        y = y * given.tensor("gamma")
    return y + given.tensor("beta") if given.has("beta") else y


def instance_norm(given: Arguments) -> NDArray[Any]:
    """Return x (N, C, H, W) with every channel of every image standardised, then gamma and beta per channel."""
    x = given.tensor("x")
    y = _standardised(x, tuple(range(2, x.ndim)), np.float32(given.number("epsilon", 1e-5)))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if given.has("gamma"):
        y = y * given.tensor("gamma").reshape(shape)
    return y + given.tensor("beta").reshape(shape) if given.has("beta") else y


def _standardised(x: NDArray[Any], axes: tuple[int, ...], epsilon: np.float32) -> NDArray[Any]:
    centred = x - x.mean(axis=axes, keepdims=True, dtype=np.float32)
    y: NDArray[Any] = centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True, dtype=np.float32) + epsilon)
    return y
