"""The import, node by node: constants are computed, everything else becomes a step and runs on an example image."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeseg.errors import UnsupportedError
from edgeseg.models.from_onnx.layers import build_layer
from edgeseg.models.from_onnx.plan import OnnxStep, Operand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

RESERVED = ("input", "steps", "result", "source", "text", "training")
"""Names of `OnnxNet`'s own attributes, which no layer may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A value that depends on the image: its step, and its value for the example."""

    name: str
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, batch 1 included."""
        return tuple(self.tensor.shape)


OnnxValue = Result | np.ndarray
"""A result, or a constant."""


@dataclass(slots=True, kw_only=True)
class Trace:
    """What was imported so far. `uses` counts how often each value of the file is read."""

    values: dict[str, OnnxValue] = field(default_factory=dict)
    steps: dict[str, OnnxStep] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    opset: int = 0
    where: str = ""

    def emit(
        self,
        kind: str,
        *given: OnnxValue,
        name: str,
        settings: Mapping[str, object] | None = None,
        weights: Mapping[str, NDArray[Any]] | None = None,
    ) -> Result:
        """Add a step and return its result for the example; constants among `given` are stored as its operands."""
        results = [value for value in given if isinstance(value, Result)]
        constants = {place: value for place, value in enumerate(given) if not isinstance(value, Result)}
        step = OnnxStep(
            name=self._unique(name),
            kind=kind,
            inputs=tuple(value.name for value in results),
            settings=json.dumps(dict(settings or {})),
            operands=tuple(
                Operand(place=place, shape=value.shape, dtype=_float32(value).dtype.name)
                for place, value in constants.items()
            ),
        )
        module = build_layer(step).eval()
        state = {key: torch.from_numpy(np.array(_float32(value))) for key, value in (weights or {}).items()}
        state |= {f"operand{place}": torch.from_numpy(np.array(_float32(value))) for place, value in constants.items()}
        module.load_state_dict(state, strict=False)
        with torch.no_grad():
            tensor = module(*(value.tensor for value in results))
        self.steps[step.name], self.modules[step.name] = step, module
        return Result(name=step.name, tensor=tensor)

    def _unique(self, name: str) -> str:
        plain = re.sub(r"\W+", "_", name).strip("_") or "layer"
        plain = f"n{plain}" if plain[0].isdigit() else plain
        found, count = plain, 1
        while found in self.steps or hasattr(nn.Module, found) or found in RESERVED:
            count += 1
            found = f"{plain}_{count}"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the file that is added to a `Trace`."""

    proto: onnx.NodeProto
    inputs: tuple[OnnxValue | None, ...]
    trace: Trace

    @property
    def op(self) -> str:
        """The op's name, such as Conv."""
        return self.proto.op_type

    @property
    def title(self) -> str:
        """The node's own name, or that of its result."""
        return self.proto.name or self.proto.output[0]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as a Python value; lists become tuples, bytes text."""
        from onnx import helper

        for item in self.proto.attribute:
            if item.name == name:
                found = helper.get_attribute_value(item)
                if isinstance(found, bytes):
                    return found.decode()
                return found if isinstance(found, (int, float, str)) or not hasattr(found, "__iter__") else tuple(found)
        return default

    def result(self, place: int = 0) -> Result:
        """Return an input that depends on the image; raises `UnsupportedError` for a constant."""
        value = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(value, Result):
            raise self.refusal(f"input {place} is a constant")
        return value

    def constant(self, place: int) -> NDArray[Any] | None:
        """Return a constant input, None if it is omitted; raises `UnsupportedError` for a computed one."""
        value = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(value, Result):
            raise self.refusal(f'input {place} ("{self.proto.input[place]}") depends on the image')
        return value

    def required(self, place: int) -> NDArray[Any]:
        """Return a required constant input."""
        value = self.constant(place)
        if value is None:
            raise self.refusal(f"input {place} is missing")
        return value

    def integers(self, place: int, attribute: str, default: Any = None) -> Any:
        """Return integers that are an input in newer opsets and an attribute in older ones, as a tuple."""
        value = self.constant(place)
        if value is not None:
            return tuple(int(item) for item in np.atleast_1d(value))
        return self.attribute(attribute, default)

    def emit(
        self,
        kind: str,
        *given: OnnxValue,
        settings: Mapping[str, object] | None = None,
        weights: Mapping[str, NDArray[Any]] | None = None,
    ) -> Result:
        """Add a step called like this node; see `Trace.emit`."""
        return self.trace.emit(kind, *given, name=self.title, settings=settings, weights=weights)

    def refusal(self, reason: str) -> UnsupportedError:
        """Return the error that names this node, for the caller to raise."""
        return UnsupportedError(
            f'{self.trace.where}: node "{self.title}" ({self.op}): {reason}, which is not supported.'
        )


def _float32(value: NDArray[Any]) -> NDArray[Any]:
    """Return floats as float32, other types as they are, in this machine's byte order and contiguous."""
    if value.dtype.kind == "f" or value.dtype.name == "bfloat16":
        return np.ascontiguousarray(value, np.float32).reshape(value.shape)
    return np.ascontiguousarray(value).reshape(value.shape)


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return axes from 0 on, sorted."""
    return tuple(sorted(axis % rank for axis in axes))
