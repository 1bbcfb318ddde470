"""Arithmetic, comparisons and functions of single numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeseg.models.from_onnx.tracing import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.models.from_onnx.tracing import Node, OnnxValue

_SCALAR = {"add": "other", "sub": "other", "mul": "other", "div": "other", "pow": "exponent"}
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Pow": "pow",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Equal": "equal",
    "And": "logical_and",
    "Or": "logical_or",
}
_UNARY = {
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Abs": "abs",
    "Neg": "neg",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
    "Reciprocal": "reciprocal",
    "Not": "logical_not",
}
_FLOATS = {1: "float32", 10: "float32", 11: "float32", 16: "float32"}
_CASTS = {**_FLOATS, 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}


def _binary(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        first, second = _operands(node)
        if kind == "add" and (joined := _as_bias(node, first, second)) is not None:
            return joined
        if kind in _SCALAR and isinstance(first, Result) and (number := _number(second, first)) is not None:
            # One number is a setting, not a tensor: exporters and quantizers then know its value.
            return node.emit(kind, first, settings={_SCALAR[kind]: number})
        return node.emit(kind, first, second)

    return add


def _operands(node: Node) -> tuple[OnnxValue, OnnxValue]:
    first, second = node.inputs[0], node.inputs[1]
    if first is None or second is None:
        raise node.refusal("a missing operand")
    if node.op in ("Add", "Mul") and not isinstance(first, Result):
        return second, first
    return first, second


def _number(value: OnnxValue, other: Result) -> float | int | None:
    """Return the number in a constant of one element that does not add axes to the other operand."""
    if isinstance(value, Result) or value.size != 1 or value.ndim > len(other.shape):
        return None
    found: float | int = value.reshape(-1)[0].item()
    return found


def _as_bias(node: Node, first: OnnxValue, second: OnnxValue) -> Result | None:
    """Make a constant added to a linear layer's result, read by nothing else, that layer's bias."""
    trace = node.trace
    if not isinstance(first, Result) or isinstance(second, Result) or first.name not in trace.steps:
        return None
    step = trace.steps[first.name]
    source = next((name for name in node.proto.input if trace.values.get(name) is first), "")
    settings = step.values()
    count = settings.get("out_features")
    if step.kind != "linear" or settings["bias"] or second.size != count or second.shape[-1] != count:
        return None
    if trace.uses.get(source, 0) != 1:
        return None
    weight = trace.modules[step.name].get_parameter("weight").detach().numpy()
    name = step.inputs[0]
    given = next(value for value in trace.values.values() if isinstance(value, Result) and value.name == name)
    del trace.steps[step.name], trace.modules[step.name]
    return trace.emit(
        "linear",
        given,
        name=step.name,
        settings={**settings, "bias": True},
        weights={"weight": weight, "bias": second.reshape(-1)},
    )


def _folded(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        first, *others = node.inputs
        result = first
        for other in others:
            if result is None or other is None:
                raise node.refusal("a missing operand")
            result = node.emit(kind, result, other)
        if not isinstance(result, Result):
            raise node.refusal("no operand that depends on the image")
        return result

    return add


def _unary(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        return node.emit(kind, node.result(0))

    return add


def onnx_cast(node: Node) -> Result:
    """Add a cast; floats of any width stay float32."""
    wanted = _CASTS.get(node.attribute("to"))
    x = node.result(0)
    if wanted is None:
        raise node.refusal("a cast to that type")
    return x if x.tensor.dtype == getattr(torch, wanted) else node.emit("cast", x, settings={"dtype": wanted})


def where(node: Node) -> Result:
    """Add a choice between two values."""
    condition, first, second = node.inputs
    if condition is None or first is None or second is None:
        raise node.refusal("a missing operand")
    return node.emit("where", condition, first, second)


def same(node: Node) -> Result:
    """Add nothing: the result is the input."""
    return node.result(0)


ONNX_ELEMENTWISE: dict[str, Callable[[Node], Result]] = {
    **{op: _binary(kind) for op, kind in _BINARY.items()},
    **{op: _unary(kind) for op, kind in _UNARY.items()},
    "Max": _folded("maximum"),
    "Min": _folded("minimum"),
    "Sum": _folded("add"),
    "Cast": onnx_cast,
    "Where": where,
    "Identity": same,
    "Dropout": same,
}
