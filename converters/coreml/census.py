"""Which ops of a package compute in int8 and which in float, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseg.core.placement import OpPlacement

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLUMBING = ("const", "cast", "quantize", "dequantize")
_WEIGHTED = ("conv", "linear")
# A device computes these with the op before them, before its result is stored as int8.
FUSED = ("relu", "relu6", "clip")


def census(spec: Any, *, int8: bool) -> tuple[OpPlacement, ...]:
    """Return the computing ops of a package's specification: constants, casts and int8 pairs left out.

    An op is in int8 if it lies between int8 pairs, together with its activation; with `int8`, the others have a reason.
    Core ML chooses the compute unit on the device.
    """
    graph = _Graph(spec)
    computing = [op for op in graph.operations if op.type not in _PLUMBING and not op.type.startswith("constexpr")]
    return tuple(_placement(op, reason=graph.float_reason(op), int8=int8) for op in computing)


def _placement(op: Any, *, reason: str, int8: bool) -> OpPlacement:
    return OpPlacement(
        op=op.type,
        node=op.outputs[0].name,
        unit="coreml",
        dtype="" if reason else "int8",
        reason=reason if int8 else "",
    )


class _Graph:
    """Producers and readers of each result, by name."""

    def __init__(self, spec: Any) -> None:
        self.operations = list(_operations(spec))
        self._makers = {output.name: op for op in self.operations for output in op.outputs}
        self._readers: dict[str, list[Any]] = {}
        for op in self.operations:
            for name in _names_read(op):
                self._readers.setdefault(name, []).append(op)

    def float_reason(self, op: Any) -> str:
        """Return why the op computes in float; empty for one that lies between int8 pairs."""
        if op.type in FUSED and self._follows_int8(op):
            return self._result_reason(op)
        sources = [self._source(name) for name in _names_read(op)]
        in_float = sorted(
            {source for source in sources if source not in ("const", "dequantize") and "constexpr" not in source}
        )
        if in_float:
            return f"reads {' and '.join(in_float)} in float, without an int8 pair between"
        if op.type in _WEIGHTED:
            stored = any(source.startswith("constexpr") for source in sources)
            return "" if stored else "its weights are stored as float"
        return self._result_reason(op)

    def _source(self, name: str) -> str:
        """Return the type of the op that made a result, ignoring casts."""
        maker = self._makers.get(name)
        if maker is None:
            return "the image"
        return self._source(maker.inputs["x"].arguments[0].name) if maker.type == "cast" else maker.type

    def _follows_int8(self, op: Any) -> bool:
        makers = [self._makers[name] for name in _names_read(op) if name in self._makers]
        return all(maker.type == "const" or not self.float_reason(maker) for maker in makers)

    def _result_reason(self, op: Any) -> str:
        readers = {reader.type for reader in self._readers.get(op.outputs[0].name, ())}
        in_float = sorted(readers - {"quantize", *FUSED})
        return f"its result goes to {' and '.join(in_float)} in float" if in_float else ""


def _operations(spec: Any) -> Iterator[Any]:
    for function in spec.mlProgram.functions.values():
        yield from function.block_specializations[function.opset].operations


def _names_read(op: Any) -> list[str]:
    return [binding.name for argument in op.inputs.values() for binding in argument.arguments if binding.name]
