"""The content of a .pte file: the kernels that ExecuTorch calls itself, and the graphs delegated to XNNPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeseg.converters.executorch.lowering import quiet_executorch
from edgeseg.converters.executorch.xnnpack_graph import XnnpackGraph, read_graph
from edgeseg.errors import ConversionError

GRAPH_OFFSET, GRAPH_SIZE = slice(10, 14), slice(14, 18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The names of the portable kernels in the order of their calls, and XNNPACK's graphs."""

    kernels: tuple[str, ...]
    graphs: tuple[XnnpackGraph, ...]


def read_stored(data: bytes) -> Stored:
    """Return the content of a .pte file's bytes.

    Raises:
        ConversionError: a part for another backend, or an unknown layout.
    """
    with quiet_executorch():
        from executorch.exir._serialize._program import deserialize_pte_binary

        file = deserialize_pte_binary(data)
    program, named = file.program, file.named_data

    def constant(name: str) -> bytes:
        return bytes(named.buffers[named.pte_data[name].buffer_index])

    plan = program.execution_plan[0]
    calls = [step.instr_args for chain in plan.chains for step in chain.instructions]
    names = [plan.operators[call.op_index].name for call in calls if type(call).__name__ == "KernelCall"]
    return Stored(
        kernels=tuple(names),
        graphs=tuple(read_graph(_payload(delegate, program), constants=constant) for delegate in plan.delegates),
    )


def _payload(delegate: Any, program: Any) -> bytes:
    """Return the flatbuffer of a delegate's graph, from behind its header.

    The header's fields are named in ExecuTorch's backends/xnnpack/serialization/xnnpack_graph_serialize.py.
    """
    if delegate.id != "XnnpackBackend":
        raise ConversionError(f'The file has a part for "{delegate.id}"; only XNNPACK\'s can be read here.')
    blob = bytes(program.backend_delegate_data[delegate.processed.index].data)
    if blob[4:8] != b"XH00":
        raise ConversionError(f"XNNPACK's part begins with {blob[4:8]!r}; ExecuTorch 1.5 writes b'XH00'.")
    offset, size = (int.from_bytes(blob[field], "little") for field in (GRAPH_OFFSET, GRAPH_SIZE))
    return blob[offset : offset + size]
