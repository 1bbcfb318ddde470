"""Resize and Upsample: PyTorch's interpolation if it computes the same, else the exact weights of the ONNX rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.models.from_onnx.tracing import Node, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One resized axis: its old and new size, and the factor that positions are computed with."""

    axis: int
    old: int
    new: int
    scale: float


def resize(node: Node) -> Result:
    """Add a resize of any mode that ONNX has without antialiasing and crops."""
    x = node.result(0)
    if node.attribute("antialias", 0):
        raise node.refusal("antialias = 1")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refusal("keep_aspect_ratio_policy")
    place = node.attribute("coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample" or node.trace.opset < 11:
        place = "asymmetric"
    if place == "tf_crop_and_resize":
        raise node.refusal(f'coordinate_transformation_mode "{place}"')
    mode = node.attribute("mode", "nearest")
    axes = [axis for axis in _axes(node, x) if axis.new != axis.old or axis.scale != 1]
    if not axes:
        return x
    if (native := _native(node, axes, mode=mode, place=place)) is not None:
        return node.emit("interpolate", x, settings=native)
    for axis in axes:
        positions = _positions(axis, place)
        if mode == "nearest":
            index = _nearest(node, axis, positions)
            x = node.emit("index_select", x, index, settings={"axis": axis.axis})
        else:
            x = node.emit("along", x, _matrix(node, axis, positions, mode=mode), settings={"axis": axis.axis})
    return x


def _axes(node: Node, x: Result) -> list[_Axis]:
    older = node.op == "Upsample" or node.trace.opset < 11
    scales = node.constant(1) if older else node.constant(2)
    sizes = None if older else node.constant(3)
    if scales is None or scales.size == 0:
        given = node.attribute("scales")
        scales = None if given is None else np.array(given)
    chosen = node.attribute("axes", tuple(range(len(x.shape))))
    found = []
    for place, axis in enumerate(chosen):
        axis, old = axis % len(x.shape), x.shape[axis]  # noqa: PLW2901 - the same axis, counted from 0
        if sizes is not None and sizes.size:
            new = int(sizes[place])
            scale = new / old
        elif scales is not None:
            scale = float(np.float32(scales[place]))
            new = math.floor(old * scale)
        else:
            raise node.refusal("neither sizes nor scales")
        found.append(_Axis(axis=axis, old=old, new=new, scale=scale))
    return found


def _native(node: Node, axes: list[_Axis], *, mode: str, place: str) -> dict[str, object] | None:
    """Return the settings of `torch.nn.functional.interpolate` that compute the same, None if there are none."""
    x = node.result(0)
    if len(x.shape) != 4 or {axis.axis for axis in axes} - {2, 3}:
        return None
    sizes = {2: x.shape[2], 3: x.shape[3]} | {axis.axis: axis.new for axis in axes}
    size = [sizes[2], sizes[3]]
    whole = all(abs(axis.old * axis.scale - axis.new) < 1e-6 * axis.new for axis in axes)
    if mode == "nearest":
        same = all(
            np.array_equal(_nearest(node, axis, _positions(axis, place)), np.arange(axis.new) * axis.old // axis.new)
            for axis in axes
        )
        return {"size": size, "mode": "nearest"} if same else None
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    if mode == "bicubic" and (node.attribute("cubic_coeff_a", -0.75) != -0.75 or node.attribute("exclude_outside", 0)):
        return None
    several = min(size) > 1
    rules = {"half_pixel": False, **({"pytorch_half_pixel": False, "align_corners": True} if several else {})}
    if not whole or mode not in ("bilinear", "bicubic") or place not in rules:
        return None
    return {"size": size, "mode": mode, "align_corners": rules[place]}


def _positions(axis: _Axis, place: str) -> NDArray[np.float64]:
    """Return where each new pixel lies among the old ones (ONNX's Resize-19)."""
    new = np.arange(axis.new, dtype=np.float64)
    if place == "asymmetric":
        return new / axis.scale
    if axis.new == 1 and place in ("align_corners", "pytorch_half_pixel"):
        return np.zeros(1)
    if place == "align_corners":
        return new * (axis.old - 1) / (axis.new - 1)
    if place == "tf_half_pixel_for_nn":
        return (new + 0.5) / axis.scale
    centred = (new + 0.5) / axis.scale - 0.5
    if place == "half_pixel_symmetric":
        adjustment = axis.new / (axis.scale * axis.old)
        return axis.old / 2 * (1 - adjustment) + centred
    return centred


def _nearest(node: Node, axis: _Axis, positions: NDArray[np.float64]) -> NDArray[np.int64]:
    rule = node.attribute("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample" or node.trace.opset < 11:
        rule = "floor"
    rounded = {
        "round_prefer_floor": np.ceil(positions - 0.5),
        "round_prefer_ceil": np.floor(positions + 0.5),
        "floor": np.floor(positions),
        "ceil": np.ceil(positions),
    }.get(rule)
    if rounded is None:
        raise node.refusal(f'nearest_mode "{rule}"')
    return np.clip(rounded, 0, axis.old - 1).astype(np.int64)


def _matrix(node: Node, axis: _Axis, positions: NDArray[np.float64], *, mode: str) -> NDArray[np.float32]:
    """Return the weights (new, old) of each old pixel in each new one."""
    if mode not in ("linear", "cubic"):
        raise node.refusal(f'mode "{mode}"')
    matrix = np.zeros((axis.new, axis.old))
    first = np.floor(positions).astype(np.int64)
    share = positions - first
    taps: list[tuple[int, NDArray[Any]]] = [(0, 1 - share), (1, share)]
    if mode == "cubic":
        a = node.attribute("cubic_coeff_a", -0.75)
        taps = [(offset, _cubic(np.abs(share - offset), a)) for offset in (-1, 0, 1, 2)]
    rows = np.arange(axis.new)
    for offset, weight in taps:
        column = first + offset
        if node.attribute("exclude_outside", 0) and mode == "cubic":
            weight = np.where((column < 0) | (column >= axis.old), 0, weight)  # noqa: PLW2901 - without the outer ones
        np.add.at(matrix, (rows, np.clip(column, 0, axis.old - 1)), weight)
    if node.attribute("exclude_outside", 0):
        matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix.astype(np.float32)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return Keys' cubic convolution kernel (1981) at distances from 0 to 2."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


RESIZING = {"Resize": resize, "Upsample": resize}
