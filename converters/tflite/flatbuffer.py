"""A TFLite flatbuffer as objects that can be edited, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseg.core.spec import DType

_IDENTIFIER = b"TFL3"
# The schema requires it (force_align: 16), the generated Python code omits it, and Arm reads int32 biases in place.
ALIGNMENT = 16

DTYPES: dict[int, DType] = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
OP_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteTensor:
    """A tensor as described in the file; scale and zero point if it is quantized per tensor."""

    name: str
    dtype: DType
    scale: float | None
    zero_point: int | None


@dataclass(slots=True, kw_only=True)
class TFLiteModel:
    """A flatbuffer with one graph; `tree` is the schema's own object, `graph` its subgraph."""

    tree: Any

    @property
    def graph(self) -> Any:
        """The only subgraph."""
        return self.tree.subgraphs[0]

    @property
    def operators(self) -> list[Any]:
        """The subgraph's operators in order of execution."""
        return list(self.graph.operators)

    def op_name(self, operator: Any) -> str:
        """Return an operator's name, such as CONV_2D."""
        code = self.tree.operatorCodes[operator.opcodeIndex]
        result: str = OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        return result

    def tensor(self, index: int) -> Any:
        """Return the schema's object of a tensor."""
        return self.graph.tensors[index]

    def data(self, index: int) -> np.ndarray | None:
        """Return a constant tensor's bytes, None for an activation."""
        data = self.tree.buffers[self.tensor(index).buffer].data
        return None if data is None or len(data) == 0 else data

    def add_tensor(self, like: Any, *, name: str, dtype: int, data: np.ndarray | None = None) -> int:
        """Return the index of a new tensor of `like`'s shape, not quantized; with `data` it is a constant."""
        tensor = schema.TensorT()
        tensor.name, tensor.type = name, dtype
        tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, like.hasRank
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
            self.tree.buffers.append(buffer)
            tensor.buffer = len(self.tree.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def new_operator(self, name: str, *, source: int, target: int) -> Any:
        """Return an operator of one input and one output, not yet in the graph."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name))
        operator.inputs, operator.outputs = [source], [target]
        return operator

    def io(self) -> tuple[TFLiteTensor, TFLiteTensor]:
        """Return the graph's input and output."""
        return self.stored(self.graph.inputs[0]), self.stored(self.graph.outputs[0])

    def name_of(self, index: int) -> str:
        """Return a tensor's name, whatever its type."""
        return _text(self.tensor(index).name)

    def stored(self, index: int) -> TFLiteTensor:
        """Return a tensor's description."""
        tensor = self.tensor(index)
        scales = tensor.quantization.scale if tensor.quantization is not None else None
        single = scales is not None and len(scales) == 1
        return TFLiteTensor(
            name=self.name_of(index),
            dtype=DTYPES[tensor.type],
            scale=float(scales[0]) if scales is not None and single else None,
            zero_point=int(tensor.quantization.zeroPoint[0]) if single else None,
        )

    def name_io(self, *, image: str, output: str) -> None:
        """Name input and output, in the graph and in its signature."""
        self.tensor(self.graph.inputs[0]).name = image
        self.tensor(self.graph.outputs[0]).name = output
        for signature in self.tree.signatureDefs or []:
            signature.inputs[0].name, signature.outputs[0].name = image, output

    def _code(self, builtin: int) -> int:
        for index, code in enumerate(self.tree.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 2
        self.tree.operatorCodes.append(code)
        return len(self.tree.operatorCodes) - 1


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the generated schema is untyped
    def Pack(self, builder: Any) -> int:  # noqa: N802
        size = len(self.data)
        builder.StartVector(1, size, ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = self.data.tobytes()
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def read_model(content: bytes) -> TFLiteModel:
    """Return a flatbuffer's objects; buffers stored outside it, at an offset in the file, are copied inside."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for buffer in tree.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, count=buffer.size, offset=buffer.offset)
            buffer.offset = buffer.size = 0
    return TFLiteModel(tree=tree)


def write_model(model: TFLiteModel) -> bytes:
    """Return the flatbuffer, every buffer aligned to 16 bytes."""
    model.tree.buffers = [_aligned(buffer) for buffer in model.tree.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.tree.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _aligned(buffer: Any) -> Any:
    if buffer.data is None or len(buffer.data) == 0:
        return buffer
    aligned = _AlignedBuffer()
    aligned.data = np.asarray(buffer.data, np.uint8)
    return aligned


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
