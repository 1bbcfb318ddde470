"""A dry run, on zeros or meta tensors: whether a net supports a size, and what it returns."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from edgeseg.core.spec import ModelSpec


SMALL_PIXELS = 128 * 256
"""Up to this many pixels, computing is faster than torch's tracing with meta tensors, which is written in Python."""


def logits_shape(net: nn.Module, *, size: tuple[int, int], inputs: int = 3) -> tuple[int, ...]:
    """Return the shape (1, classes, h, w) of the logits of a net for one image of `size`; the net is not changed.

    Raises:
        InputError: a net that does not support this size, or does not return such a tensor.
    """
    import torch

    height, width = size
    name = type(net).__name__
    result = dry_forward(net, size=size, inputs=inputs)
    if not isinstance(result, torch.Tensor) or result.dim() != 4 or not result.dtype.is_floating_point:
        shown = f"{tuple(result.shape)} {result.dtype}" if isinstance(result, torch.Tensor) else type(result).__name__
        raise InputError(
            f"{name} returns {shown} for {height}x{width}; required: float logits (N, classes, h, w). "
            "Name the output in the spec: output.key."
        )
    return tuple(result.shape)


def check_logits(net: nn.Module, *, spec: ModelSpec) -> None:
    """Raise `InputError` unless the net accepts the spec's input and returns the logits that the spec states."""
    found, wanted = logits_shape(net, size=spec.size, inputs=spec.inputs[0].shape[1]), spec.outputs[0].shape
    if found == wanted:
        return
    height, width = spec.size
    what = (
        f"{found[1]} channels for {wanted[1]} classes"
        if found[1] != wanted[1]
        else f"{found[2]}x{found[3]} cells; output stride {spec.output_stride} means {wanted[2]}x{wanted[3]}"
    )
    raise InputError(f"{type(net).__name__} at {height}x{width}: returns {what}. Correct the spec, or the net.")


def dry_forward(
    net: nn.Module,
    *,
    size: tuple[int, int],
    inputs: int = 3,
    batch: int = 1,
    training: bool = False,
    prepare: Callable[[nn.Module], None] | None = None,
) -> object:
    """Return the output of a copy of `net`, on zeros at a small size and on meta tensors at a large one.

    A net that does not run on meta tensors gets zeros at any size. `prepare` is called with each copy before its pass,
    to register hooks. The random state is restored after dropout.

    Raises:
        InputError: a net that does not support this size.
    """
    import torch

    fault: Exception | None = None
    for device in ("cpu",) if size[0] * size[1] <= SMALL_PIXELS else ("meta", "cpu"):
        tried = copy.deepcopy(net).to(device).train(training)
        if prepare is not None:
            prepare(tried)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=()):
                return tried(torch.zeros(batch, inputs, *size, device=device))
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code may fail in any way
            fault = error
    lines = str(fault).strip().splitlines() or [type(fault).__name__]
    raise InputError(f"{type(net).__name__} does not support {size[0]}x{size[1]}: {lines[0]}") from fault
