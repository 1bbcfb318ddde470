"""The end of an imported net: from the file's output back to logits (N, C, h, w)."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeseg.errors import UnsupportedError
from edgeseg.models.from_onnx.net import OnnxNet
from edgeseg.models.from_onnx.plan import NetPlan, OnnxStep, Operand

if TYPE_CHECKING:
    from edgeseg.core.file_io import FileIO

_PLANES = "NCHW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A net that ends with logits, or with one channel of `probabilities` whose sigmoid was not found."""

    net: OnnxNet
    probabilities: bool


def with_logits(net: OnnxNet, file: FileIO, *, where: str) -> Ended:
    """Return the net without the argmax, softmax or sigmoid at its end, its logits as (N, C, h, w).

    Channels of classes that the spec leaves out are dropped, and a threshold becomes an offset of the logit.

    Raises:
        UnsupportedError: labels whose logits are not found, or a threshold on something other than a logit.
    """
    end = _End(net=net, name=net.result, layout=file.layout if "C" in file.layout else "")
    if file.values == "labels":
        end = _before_argmax(end, where=where)
    end = _without(end, ("permute", "softmax", "log_softmax", *(("sigmoid",) if file.one_channel else ())))
    steps = [step for step in net.steps if step.name in _needed(net, end.name)]
    added, weights = _added_steps(end, file, where=where)
    made = OnnxNet(NetPlan(output=added[-1].name if added else end.name, steps=(*steps, *added)).to_text())
    kept = {key: value for key, value in net.state_dict().items() if key.partition(".")[0] in {s.name for s in steps}}
    made.load_state_dict(kept | weights)
    made.eval()
    return Ended(net=made, probabilities=file.values == "probabilities" and file.one_channel and not end.cut_sigmoid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A value of the net and its axes; without C in `layout` it has one value per pixel."""

    net: OnnxNet
    name: str
    layout: str
    cut_sigmoid: bool = False

    @property
    def step(self) -> OnnxStep | None:
        return next((step for step in self.net.steps if step.name == self.name), None)


def _before_argmax(end: _End, *, where: str) -> _End:
    step = end.step
    while step is not None and step.kind in ("cast", "squeeze", "unsqueeze", "reshape", "permute"):
        end = dataclasses.replace(end, name=step.inputs[0])
        step = end.step
    axis = step.values()["dim"] if step is not None and step.kind == "argmax" else None
    if step is None or axis not in (1, 3):
        raise UnsupportedError(
            f"{where}: its labels are not an argmax over the channels of logits, so they cannot be converted "
            "to PyTorch. Name an output with logits (output in the spec's [file]), or run the file: edgeseg adopt."
        )
    return dataclasses.replace(end, name=step.inputs[0], layout="NCHW" if axis == 1 else "NHWC")


def _without(end: _End, kinds: tuple[str, ...]) -> _End:
    """Return the value before steps of these kinds at the end; the layout follows permutations backwards."""
    step = end.step
    while step is not None and step.kind in kinds:
        layout = end.layout
        if step.kind == "permute":
            order = step.values()["order"]
            if len(order) != len(layout):
                return end
            before = [""] * len(order)
            for place, axis in enumerate(order):
                before[axis] = layout[place]
            layout = "".join(before)
        elif "softmax" in step.kind and layout and layout[step.values()["dim"] % len(layout)] != "C":
            return end
        sigmoid = end.cut_sigmoid or step.kind == "sigmoid"
        end = dataclasses.replace(end, name=step.inputs[0], layout=layout, cut_sigmoid=sigmoid)
        step = end.step
    return end


def _needed(net: OnnxNet, name: str) -> set[str]:
    needed = {name}
    for step in reversed(net.steps):
        if step.name in needed:
            needed |= set(step.inputs)
    return needed


def _added_steps(end: _End, file: FileIO, *, where: str) -> tuple[list[OnnxStep], dict[str, torch.Tensor]]:
    steps: list[OnnxStep] = []
    weights: dict[str, torch.Tensor] = {}

    def add(name: str, kind: str, settings: dict[str, object], operands: tuple[Operand, ...] = ()) -> None:
        source = steps[-1].name if steps else end.name
        steps.append(
            OnnxStep(
                name=f"edgeseg_{name}", kind=kind, inputs=(source,), settings=json.dumps(settings), operands=operands
            )
        )

    layout = end.layout
    if layout and layout != _PLANES and set(layout) == set(_PLANES):
        add("planes", "permute", {"order": [layout.index(axis) for axis in _PLANES]})
    elif layout and layout != _PLANES:
        raise UnsupportedError(f"{where}: its output has the axes {layout}; nets need a batch, such as NCHW or NHWC.")
    if file.ids:
        index = np.array(file.ids, np.int64)
        add("ids", "index_select", {"axis": 1}, (Operand(place=1, shape=index.shape, dtype="int64"),))
        weights["edgeseg_ids.operand1"] = torch.from_numpy(index)
    if file.threshold != 0.5 and file.one_channel:
        if file.values == "probabilities" and not end.cut_sigmoid:
            raise UnsupportedError(f"{where}: its mask does not end with a sigmoid, so threshold must be 0.5 here.")
        add("threshold", "sub", {"other": math.log(file.threshold / (1 - file.threshold))})
    return steps, weights
