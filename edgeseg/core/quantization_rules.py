"""`QuantizationRules`: what a backend computes in int8, as data. Each converter declares its own as `rules`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeseg.core.suggestions import unknown
from edgeseg.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable

WEIGHTED_OPS = ("conv2d", "linear", "conv_transpose2d")
"""Ops with int8 weights, their second argument."""
ELEMENTWISE = ("add", "mul", "sub", "matmul")
"""Ops on two tensors."""
RECTIFIERS = ("relu", "relu6", "hardtanh")
"""Activations that only cut values off; int8 kernels apply them to stored numbers, under one scale."""
POOLS_AND_RESIZES = ("avg_pool2d", "max_pool2d", "upsample_bilinear2d", "upsample_nearest2d", "cat")
"""One scale for input and output: the int8 kernels of LiteRT only move or average stored numbers here."""
OTHER_OPS = ("mean", "leaky_relu")
FUSABLE = (*RECTIFIERS, "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "elu", "leaky_relu", "tanh", "mish")
"""Activations that some backend's convolutions apply to their own result."""
KNOWN = frozenset((*WEIGHTED_OPS, *ELEMENTWISE, *POOLS_AND_RESIZES, *OTHER_OPS, *FUSABLE, "softmax", "layer_norm"))
"""Ops that rules may name."""

Avoidance = Literal["never", "if-refused", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRules:
    """Where a backend's int8 graph has quantize/dequantize pairs; the defaults are those of LiteRT with XNNPACK.

    Ops are named as in PyTorch's ATen, without the underscore of in-place variants. `float_ops` stay in float although
    other backends have int8 kernels for them. Kernels of `fusing_ops` apply a following activation in
    `fused_activations` themselves, so no pair is placed between the two. Outputs of `forced_points` always get a pair.
    `float_islands` have int8 pairs around them but compute in float; only TFLite can choose, other formats ignore it.
    Weights have one scale per output channel or one per tensor; activations are affine or symmetric. `avoid_saturation`
    enlarges weight scales, where images need it, until two adjacent products fit in the 16 bits in which x86 CPUs
    without VNNI add them: "if-refused" does so on such a CPU, once the artifact with the usual scales was refused.
    """

    float_ops: tuple[str, ...] = ("conv_transpose2d", "leaky_relu", "matmul", "sub")
    fusing_ops: tuple[str, ...] = ("conv2d", "linear", "add")
    fused_activations: tuple[str, ...] = ("relu", "relu6", "hardtanh")
    forced_points: tuple[str, ...] = ()
    float_islands: tuple[str, ...] = ("hardswish", "sigmoid")
    per_channel_weights: bool = True
    symmetric_activations: bool = False
    avoid_saturation: Avoidance = "never"


DEFAULT_RULES = QuantizationRules()
"""The rules of LiteRT with XNNPACK, the default for converters that declare none.

Hard-swish stays in float between two pairs: LiteRT has no fast int8 kernel for it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationOverrides:
    """The `[backends.quantization]` table of a target: what is given replaces the converter's own rule."""

    float_ops: tuple[str, ...] | None = None
    fusing_ops: tuple[str, ...] | None = None
    fused_activations: tuple[str, ...] | None = None
    forced_points: tuple[str, ...] | None = None
    float_islands: tuple[str, ...] | None = None
    per_channel_weights: bool | None = None
    symmetric_activations: bool | None = None
    avoid_saturation: Avoidance | None = None

    def __post_init__(self) -> None:
        lists = (self.float_ops, self.fusing_ops, self.fused_activations, self.forced_points, self.float_islands)
        try:
            check_ops(name for names in lists for name in names or ())
        except UnknownName as error:
            raise ValueError(str(error)) from None

    def applied_to(self, rules: QuantizationRules) -> QuantizationRules:
        """Return rules with what this table gives in place of their own."""
        given = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return dataclasses.replace(rules, **{name: value for name, value in given.items() if value is not None})


def check_ops(names: Iterable[str]) -> None:
    """Raise `UnknownName` for an op that no backend could treat by rules, with the nearest known one."""
    for name in names:
        if name not in KNOWN:
            raise unknown("op in quantization rules", name, KNOWN)
