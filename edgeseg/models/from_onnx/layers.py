"""The layers that imported nets are made of: PyTorch's own, and functions as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeseg.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.models.from_onnx.plan import OnnxStep

# Layers with weights, and activations that other parts of edgeseg know by their class.
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "conv": nn.Conv2d,
    "conv_transpose": nn.ConvTranspose2d,
    "linear": nn.Linear,
    "batch_norm": nn.BatchNorm2d,
    "instance_norm": nn.InstanceNorm2d,
    "group_norm": nn.GroupNorm,
    "layer_norm": nn.LayerNorm,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "softmax": nn.Softmax,
    "log_softmax": nn.LogSoftmax,
    "max_pool": nn.MaxPool2d,
    "avg_pool": nn.AvgPool2d,
    "global_avg_pool": nn.AdaptiveAvgPool2d,
    "identity": nn.Identity,
}


def _reshape(x: Tensor, *, shape: list[int | str]) -> Tensor:
    """Return x reshaped; "keep" takes the size of x at the same axis."""
    return x.reshape([x.shape[axis] if side == "keep" else int(side) for axis, side in enumerate(shape)])


def _slice(x: Tensor, *, axis: int, start: int, end: int, step: int) -> Tensor:
    index: list[slice] = [slice(None)] * x.dim()
    index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _pad(x: Tensor, *, pads: list[int], mode: str, value: float) -> Tensor:
    return functional.pad(x, pads, mode=mode, value=value) if mode == "constant" else functional.pad(x, pads, mode=mode)


def _along(x: Tensor, matrix: Tensor, *, axis: int) -> Tensor:
    """Return x with one axis multiplied by a matrix (new size, old size)."""
    if axis % x.dim() == x.dim() - 1:
        return torch.matmul(x, matrix.t())
    if axis % x.dim() == x.dim() - 2:
        return torch.matmul(matrix, x)
    return torch.matmul(x.movedim(axis, -1), matrix.t()).movedim(-1, axis)


def _blocks(x: Tensor, *, block: int, depth_first: bool) -> Tensor:
    """Return depth to space; `depth_first` is ONNX's DCR order, else CRD, which is a pixel shuffle."""
    if not depth_first:
        return functional.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    split = x.reshape(n, block, block, c // block**2, h, w)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def _depth(x: Tensor, *, block: int) -> Tensor:
    """Return space to depth in ONNX's order."""
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // block, block, w // block, block)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def _reduced(name: str) -> Callable[..., Tensor]:
    def reduce(x: Tensor, *, axes: list[int], keepdim: bool) -> Tensor:
        if name == "prod":
            for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
                x = x.prod(axis, keepdim=keepdim)
            return x
        if name == "l2":
            return x.square().sum(axes, keepdim=keepdim).sqrt()
        if name == "l1":
            return x.abs().sum(axes, keepdim=keepdim)
        found: Tensor = getattr(x, name)(axes, keepdim=keepdim)
        return found

    return reduce


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
    "logical_not": torch.logical_not,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "where": torch.where,
    "matmul": torch.matmul,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "abs": torch.abs,
    "neg": torch.neg,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "sign": torch.sign,
    "reciprocal": torch.reciprocal,
    "softsign": functional.softsign,
    "clamp": torch.clamp,
    "concat": lambda *tensors, axis: torch.cat(tensors, dim=axis),
    "einsum": lambda *tensors, equation: torch.einsum(equation, *tensors),
    "slice": _slice,
    "pad": _pad,
    "reshape": _reshape,
    "flatten": lambda x, *, start: torch.flatten(x, start),
    "permute": lambda x, *, order: x.permute(order),
    "squeeze": lambda x, *, axes: x.squeeze(axes),
    "unsqueeze": torch.unsqueeze,
    "expand": lambda x, *, shape: x.expand(shape),
    "tile": lambda x, *, repeats: x.repeat(repeats),
    "select": torch.select,
    "index_select": lambda x, index, *, axis: torch.index_select(x, axis, index),
    "interpolate": functional.interpolate,
    "along": _along,
    "depth_to_space": _blocks,
    "space_to_depth": _depth,
    "argmax": torch.argmax,
    "argmin": torch.argmin,
    "cast": lambda x, *, dtype: x.to(getattr(torch, dtype)),
    **{f"reduce_{name}": _reduced(name) for name in ("mean", "sum", "amax", "amin", "prod", "l1", "l2")},
}


class Function(nn.Module):
    """A function of tensors with fixed settings; constant operands are buffers, "operand0" and so on."""

    def __init__(self, step: OnnxStep) -> None:
        super().__init__()
        self.kind = step.kind
        self.settings = step.values()
        self.places = tuple(operand.place for operand in step.operands)
        for operand in step.operands:
            value = torch.zeros(operand.shape, dtype=getattr(torch, operand.dtype))
            self.register_buffer(f"operand{operand.place}", value)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the function's result for the tensors, with constant operands at their places."""
        given = list(tensors)
        for place in self.places:
            given.insert(place, self.get_buffer(f"operand{place}"))
        result: Tensor = FUNCTIONS[self.kind](*given, **self.settings)
        return result

    def extra_repr(self) -> str:
        """Return the function's name, for printing."""
        return self.kind


def build_layer(step: OnnxStep) -> nn.Module:
    """Return the module of a step with unset weights; raises `CheckpointError` for an unknown kind."""
    if step.kind in LAYERS:
        return LAYERS[step.kind](**step.values())
    if step.kind in FUNCTIONS:
        return Function(step)
    raise CheckpointError(f'The net has a layer "{step.name}" of unknown kind "{step.kind}". Update edgeseg.')
