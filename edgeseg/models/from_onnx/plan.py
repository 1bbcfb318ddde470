"""The layers of an imported net and their order, as text that a checkpoint can hold."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from edgeseg.core.records import decode_record, encode_record
from edgeseg.errors import CheckpointError, EdgesegError

ONNX_MOST_BYTES = 64 << 20
"""Larger plans are refused, against decompression bombs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A constant operand of a step, stored among the weights: its place among the arguments, shape and type."""

    place: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxStep:
    """One layer: `name` is its module and its result, `inputs` are results of earlier steps.

    `settings` are the arguments of this `kind` of layer, as JSON text.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    settings: str = "{}"
    operands: tuple[Operand, ...] = ()

    def values(self) -> dict[str, Any]:
        """Return the settings as a table."""
        table = json.loads(self.settings)
        assert isinstance(table, dict)
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPlan:
    """The steps from the net's input, called `input`, to its `output`."""

    output: str
    steps: tuple[OnnxStep, ...] = field(default=())
    input: str = "input"

    def to_text(self) -> str:
        """Return the plan as compressed text."""
        return base64.b85encode(zlib.compress(json.dumps(encode_record(self)).encode(), 9)).decode()


def plan_from_text(text: str) -> NetPlan:
    """Return the plan that `NetPlan.to_text` wrote; raises `CheckpointError` for any other text."""
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b85decode(text), ONNX_MOST_BYTES)
        return decode_record(NetPlan, json.loads(content), where="plan")
    except (ValueError, zlib.error, EdgesegError, RecursionError) as error:
        raise CheckpointError(
            f"The net's plan is corrupt ({type(error).__name__}). Import the ONNX file again."
        ) from None
