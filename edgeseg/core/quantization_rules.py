"""`QuantizationRules`: what a backend computes in int8, as data. Each converter declares its own as `rules`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRules:
    """Where a backend's int8 graph has quantize/dequantize pairs; the defaults are those of LiteRT with XNNPACK.

    Ops are named as in PyTorch's ATen, without the underscore of in-place variants. `float_ops` stay in float although
    other backends have int8 kernels for them. Kernels of `fusing_ops` apply a following activation in
    `fused_activations` themselves, so no pair is placed between the two. Outputs of `forced_points` always get a pair.
    Weights have one scale per output channel or one per tensor; activations are affine or symmetric.
    """

    float_ops: tuple[str, ...] = ("conv_transpose2d", "leaky_relu", "matmul", "sub")
    fusing_ops: tuple[str, ...] = ("conv2d", "linear", "add")
    fused_activations: tuple[str, ...] = ("relu", "relu6", "hardtanh")
    forced_points: tuple[str, ...] = ()
    per_channel_weights: bool = True
    symmetric_activations: bool = False


DEFAULT_RULES = QuantizationRules()
"""The rules of LiteRT with XNNPACK, the default for converters that declare none.

Hard-swish stays in float between two pairs: LiteRT has no fast int8 kernel for it.
"""
