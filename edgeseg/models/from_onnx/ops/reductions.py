"""ReduceMean and its like, ArgMax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.models.from_onnx.tracing import normal_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.models.from_onnx.tracing import Node, Result

_KINDS = {
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "amax",
    "ReduceMin": "amin",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
}


def _reduction(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        x = node.result(0)
        axes = node.integers(1, "axes", ())
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return x
        chosen = normal_axes(axes or range(len(x.shape)), len(x.shape))
        settings = {"axes": list(chosen), "keepdim": bool(node.attribute("keepdims", 1))}
        return node.emit(f"reduce_{kind}", x, settings=settings)

    return add


def _position(kind: str) -> Callable[[Node], Result]:
    def add(node: Node) -> Result:
        if node.attribute("select_last_index", 0):
            raise node.refusal("select_last_index")
        x = node.result(0)
        settings = {"dim": node.attribute("axis", 0) % len(x.shape), "keepdim": bool(node.attribute("keepdims", 1))}
        return node.emit(kind, x, settings=settings)

    return add


REDUCTIONS: dict[str, Callable[[Node], Result]] = {
    **{op: _reduction(kind) for op, kind in _KINDS.items()},
    "ArgMax": _position("argmax"),
    "ArgMin": _position("argmin"),
}
