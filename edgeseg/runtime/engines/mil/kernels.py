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
    "add": Kernel(compute=elementwise.add),
    "avg_pool": Kernel(compute=windows.average_pool),
    "batch_norm": Kernel(compute=elementwise.batch_norm),
    "cast": Kernel(compute=shapes.cast),
    "clip": Kernel(compute=elementwise.clip),
    "concat": Kernel(compute=shapes.concatenate, exact=True),
    "constexpr_affine_dequantize": Kernel(compute=quantization.affine_weights),
    "constexpr_blockwise_shift_scale": Kernel(compute=quantization.blockwise_weights),
    "conv": Kernel(compute=windows.convolve),
    "dequantize": Kernel(compute=quantization.dequantize, exact=True),
    "expand_dims": Kernel(compute=shapes.expand_dims, exact=True),
    "linear": Kernel(compute=shapes.linear),
    "matmul": Kernel(compute=shapes.matrix_product),
    "max_pool": Kernel(compute=windows.max_pool, exact=True),
    "maximum": Kernel(compute=elementwise.maximum, exact=True),
    "minimum": Kernel(compute=elementwise.minimum, exact=True),
    "mul": Kernel(compute=elementwise.multiply),
    "quantize": Kernel(compute=quantization.quantize, exact=True),
    "real_div": Kernel(compute=elementwise.divide),
    "reduce_argmax": Kernel(compute=shapes.reduce_argmax, exact=True),
    "reduce_mean": Kernel(compute=shapes.reduce_mean),
    "relu": Kernel(compute=elementwise.relu, exact=True),
    "relu6": Kernel(compute=elementwise.relu6, exact=True),
    "reshape": Kernel(compute=shapes.reshape, exact=True),
    "sigmoid": Kernel(compute=elementwise.sigmoid),
    "sigmoid_hard": Kernel(compute=elementwise.hard_sigmoid),
    "softmax": Kernel(compute=elementwise.softmax),
    "squeeze": Kernel(compute=shapes.squeeze, exact=True),
    "sub": Kernel(compute=elementwise.subtract),
    "thresholded_relu": Kernel(compute=elementwise.thresholded_relu, exact=True),
    "transpose": Kernel(compute=shapes.transpose, exact=True),
    "upsample_bilinear": Kernel(compute=shapes.upsample_bilinear),
}
