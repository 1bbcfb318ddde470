"""XNNPACK's graph as ExecuTorch stores it: its steps, and the types and scales of its tensors.

Slots are the places of fields in ExecuTorch's backends/xnnpack/serialization/schema.fbs (version XN01). ExecuTorch can
print the file as JSON too, but with twelve digits after the point: too few for small scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

from edgeseg.errors import ConversionError

_IDENTIFIER = b"XN01"
FLOAT32_TYPE, INT8_TYPE = "float32", "int8"
TYPES = {
    1: FLOAT32_TYPE,
    2: "float16",
    3: INT8_TYPE,
    4: "uint8",
    5: "int32",
    6: "int8 per channel",
    7: "int32 per channel",
}
PER_CHANNEL, PER_TENSOR = 1, 2

_UNARY, _BINARY, _MOVING, _POOLING = ((0,), 1), ((0, 1), 2), ((2,), 3), ((10,), 11)
_CONVOLUTION = ((15, 16), 18)
# Number of a step's kind: its name, the slots of what it reads (a convolution's weights included) and writes.
XNNPACK_KINDS: dict[int, tuple[str, tuple[int, ...], int]] = {
    1: ("Add", *_BINARY),
    2: ("FullyConnected", (0, 1), 3),
    3: ("Softmax", *_UNARY),
    4: ("Sigmoid", *_UNARY),
    5: ("StaticTranspose", *_MOVING),
    6: ("Clamp", *_UNARY),
    7: ("Conv2d", *_CONVOLUTION),
    8: ("Div", *_BINARY),
    9: ("StaticResizeBilinear2D", *_MOVING),
    10: ("StaticConstantPad", (3,), 4),
    11: ("AvgPooling2d", *_POOLING),
    12: ("Minimum", *_BINARY),
    13: ("DepthwiseConv2d", *_CONVOLUTION),
    14: ("MaxPooling2d", *_POOLING),
    15: ("Multiply", *_BINARY),
    16: ("Subtract", *_BINARY),
    18: ("Convert", *_UNARY),
    19: ("GlobalAvgPooling2d", *_UNARY),
    20: ("StaticReshape", *_MOVING),
    24: ("Hardswish", *_UNARY),
    26: ("Maximum", *_BINARY),
    32: ("Concatenate2", (1, 2), 5),
    33: ("Concatenate3", (1, 2, 3), 5),
    34: ("Concatenate4", (1, 2, 3, 4), 5),
    35: ("StaticSlice", *_MOVING),
    38: ("Concatenate5", (1, 2, 3, 4, 7), 5),
    46: ("Copy", *_UNARY),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One op: its kind, and the tensors that it reads and writes; -1 for a kind that is not listed here."""

    kind: str
    reads: tuple[int, ...]
    writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class XnnpackTensor:
    """A tensor's type and quantization; one scale per tensor or per channel, none for float tensors."""

    dtype: str
    scales: tuple[float, ...] = ()
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class XnnpackGraph:
    """Steps in the order of their computation, and tensors by number."""

    steps: tuple[Step, ...]
    tensors: dict[int, XnnpackTensor]


# Gives the bytes of a constant by its name in the file that holds the graph.
Constants = Callable[[str], bytes]


def read_graph(data: bytes, *, constants: Constants) -> XnnpackGraph:
    """Return the graph in a flatbuffer of XNNPACK's; raises `ConversionError` for another version of its layout."""
    if data[4:8] != _IDENTIFIER:
        raise ConversionError(f"XNNPACK's graph has the version {data[4:8]!r}; edgeseg reads {_IDENTIFIER!r}.")
    root = _Fields(Table(bytearray(data), encode.Get(packer.uoffset, data, 0)))
    named = [item.text(2) for item in root.tables(8)]
    tensors = dict(_tensor(value, lambda index: constants(named[index])) for value in root.tables(2))
    return XnnpackGraph(steps=tuple(_step(node) for node in root.tables(1)), tensors=tensors)


def _step(node: _Fields) -> Step:
    number = node.number(0, number_types.Uint8Flags)
    if number not in XNNPACK_KINDS:
        return Step(kind=f"kind {number}", reads=(), writes=-1)
    kind, reads, writes = XNNPACK_KINDS[number]
    fields = node.union(1)
    return Step(kind=kind, reads=tuple(fields.number(slot) for slot in reads), writes=fields.number(writes))


def _tensor(value: _Fields, constant: Callable[[int], bytes]) -> tuple[int, XnnpackTensor]:
    quantized = value.number(0, number_types.Uint8Flags) == 2
    stored = value.union(1)
    plain = stored.table(0) if quantized else stored
    dtype = TYPES.get(plain.number(0, number_types.Int16Flags), "other")
    if not quantized:
        return plain.number(6), XnnpackTensor(dtype=dtype)
    kind, params = stored.number(1, number_types.Uint8Flags), stored.union(2)
    if kind == PER_TENSOR:
        scale, zero = params.real(0), params.number(1, number_types.Int32Flags)
        return plain.number(6), XnnpackTensor(dtype=dtype, scales=(scale,), zero_point=zero)
    scales = np.frombuffer(constant(params.number(2)), np.float32).tolist() if kind == PER_CHANNEL else ()
    return plain.number(6), XnnpackTensor(dtype=dtype, scales=tuple(scales))


class _Fields:
    """A flatbuffer table whose fields are read by slot."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def number(self, slot: int, kind: object = number_types.Uint32Flags) -> int:
        return int(self._scalar(slot, kind))

    def real(self, slot: int) -> float:
        return float(self._scalar(slot, number_types.Float32Flags))

    def text(self, slot: int) -> str:
        place = self._place(slot)
        return bytes(self._table.String(self._table.Pos + place)).decode() if place else ""

    def table(self, slot: int) -> _Fields:
        return _Fields(Table(self._table.Bytes, self._table.Indirect(self._table.Pos + self._place(slot))))

    union = table

    def tables(self, slot: int) -> list[_Fields]:
        place = self._place(slot)
        if not place:
            return []
        start, count = self._table.Vector(place), self._table.VectorLen(place)
        return [_Fields(Table(self._table.Bytes, self._table.Indirect(start + 4 * index))) for index in range(count)]

    def _scalar(self, slot: int, kind: object) -> float:
        place = self._place(slot)
        return float(self._table.Get(kind, self._table.Pos + place)) if place else 0.0

    def _place(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))
