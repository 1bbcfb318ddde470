"""The table of ops: MIL's name, what computes it, and whether its result needs rounding in a half-precision program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeseg.runtime.engines.mil import elementwise, quantization, shapes, windows
from edgeseg.runtime.engines.mil.arguments import Arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """`exact` results are values that were there before (or rounded already): rounding them again changes nothing."""

    compute: Callable[[Arguments], np.ndarray]
    exact: bool = False


KERNELS: dict[str, Kernel] = {
    "add": Kernel(compute=elementwise.of_x_and_y(np.add)),
    "avg_pool": Kernel(compute=windows.average_pool),
    "batch_norm": Kernel(compute=elementwise.batch_norm),
    "cast": Kernel(compute=shapes.cast),
    "clip": Kernel(compute=elementwise.clip),
    "concat": Kernel(compute=shapes.concatenate, exact=True),
    "constexpr_affine_dequantize": Kernel(compute=quantization.affine_weights),
    "constexpr_blockwise_shift_scale": Kernel(compute=quantization.blockwise_weights),
    "conv": Kernel(compute=windows.convolve),
    "conv_transpose": Kernel(compute=windows.convolve_transposed),
    "dequantize": Kernel(compute=quantization.dequantize, exact=True),
    "elu": Kernel(compute=elementwise.elu),
    "exp": Kernel(compute=elementwise.of_x(np.exp)),
    "expand_dims": Kernel(compute=shapes.expand_dims, exact=True),
    "gelu": Kernel(compute=elementwise.gelu),
    "instance_norm": Kernel(compute=elementwise.instance_norm),
    "layer_norm": Kernel(compute=elementwise.layer_norm),
    "leaky_relu": Kernel(compute=elementwise.leaky_relu),
    "linear": Kernel(compute=shapes.linear),
    "matmul": Kernel(compute=shapes.matrix_product),
    "max_pool": Kernel(compute=windows.max_pool, exact=True),
    "maximum": Kernel(compute=elementwise.of_x_and_y(np.maximum), exact=True),
    "minimum": Kernel(compute=elementwise.of_x_and_y(np.minimum), exact=True),
    "mul": Kernel(compute=elementwise.of_x_and_y(np.multiply)),
    "pad": Kernel(compute=shapes.pad),
    "pow": Kernel(compute=elementwise.of_x_and_y(np.power)),
    "prelu": Kernel(compute=elementwise.prelu),
    "quantize": Kernel(compute=quantization.quantize, exact=True),
    "real_div": Kernel(compute=elementwise.of_x_and_y(np.divide)),
    "reduce_argmax": Kernel(compute=shapes.reduce_argmax, exact=True),
    "reduce_max": Kernel(compute=shapes.reduce_max, exact=True),
    "reduce_mean": Kernel(compute=shapes.reduce_mean),
    "reduce_sum": Kernel(compute=shapes.reduce_sum),
    "relu": Kernel(compute=elementwise.relu, exact=True),
    "relu6": Kernel(compute=elementwise.relu6, exact=True),
    "reshape": Kernel(compute=shapes.reshape, exact=True),
    "rsqrt": Kernel(compute=elementwise.inverse_square_root),
    "sigmoid": Kernel(compute=elementwise.sigmoid),
    "sigmoid_hard": Kernel(compute=elementwise.hard_sigmoid),
    "silu": Kernel(compute=elementwise.silu),
    "slice_by_index": Kernel(compute=shapes.slice_by_index, exact=True),
    "softmax": Kernel(compute=elementwise.softmax_over_axis),
    "sqrt": Kernel(compute=elementwise.of_x(np.sqrt)),
    "squeeze": Kernel(compute=shapes.squeeze, exact=True),
    "sub": Kernel(compute=elementwise.of_x_and_y(np.subtract)),
    "tanh": Kernel(compute=elementwise.of_x(np.tanh)),
    "thresholded_relu": Kernel(compute=elementwise.thresholded_relu, exact=True),
    "transpose": Kernel(compute=shapes.transpose, exact=True),
    "upsample_bilinear": Kernel(compute=shapes.upsample_bilinear),
    "upsample_nearest_neighbor": Kernel(compute=shapes.upsample_nearest, exact=True),
}
