"""What a backend computes in int8, as data: `QuantizationRules`. Each converter declares its own as `rules`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRules:
    """Where a backend's int8 graph has quantize/dequantize pairs; the defaults are those of LiteRT with XNNPACK.

    Ops are named as in PyTorch's ATen, without the underscore of in-place variants. `float_ops` stay in float although
    other backends have int8 kernels for them. Kernels of `fusing_ops` apply an activation in `fused_activations` to
    their own result, so no pair stands between the two. Outputs of `forced_points` always get a pair, even where
    nothing else asks for one. Weights have one scale for each output channel or one for all; activations are affine,
    or symmetric around zero.
    """

    float_ops: tuple[str, ...] = ("conv_transpose2d", "leaky_relu", "matmul", "sub")
    fusing_ops: tuple[str, ...] = ("conv2d", "linear", "add")
    fused_activations: tuple[str, ...] = ("relu", "relu6", "hardtanh")
    forced_points: tuple[str, ...] = ()
    per_channel_weights: bool = True
    symmetric_activations: bool = False


DEFAULT_RULES = QuantizationRules()
"""The rules of LiteRT with XNNPACK, which hold for every converter that declares none.

Hard-swish stays in float between two pairs: LiteRT has no fast int8 kernel for it.
"""
