"""What became of the ops: how many there are, how many compute between int8 pairs, which stayed in float."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from edgeseg.core.artifact import Fallback

PLUMBING = ("const", "cast", "quantize", "dequantize")
WEIGHTED = ("conv", "linear", "matmul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Computing ops of a package (constants, casts and int8 pairs left out); `quantized` read only int8 tensors."""

    total: int
    quantized: int
    fallbacks: tuple[Fallback, ...]


def census(spec: Any, *, int8: bool) -> Census:
    """Return the census of a package's specification; float fallbacks are listed where `int8` was asked for."""
    operations = list(_operations(spec))
    kinds = {output.name: op.type for op in operations for output in op.outputs}
    computing = [op for op in operations if op.type not in PLUMBING and not op.type.startswith("constexpr")]
    in_float = [op for op in computing if not _reads_int8(op, kinds)]
    fallbacks = tuple(_fallback(op, kinds) for op in in_float) if int8 else ()
    return Census(total=len(computing), quantized=len(computing) - len(in_float), fallbacks=fallbacks)


def tool_versions() -> dict[str, str]:
    """Return the versions of the libraries that made the package."""
    return {name: version(name) for name in ("coremltools", "torch", "torchao", "numpy")}


def peak_memory_mb() -> float:
    """Return this process's highest memory so far in MB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _operations(spec: Any) -> Iterator[Any]:
    for function in spec.mlProgram.functions.values():
        yield from function.block_specializations[function.opset].operations


def _sources(op: Any, kinds: dict[str, str]) -> list[str]:
    names = [binding.name for argument in op.inputs.values() for binding in argument.arguments if binding.name]
    return [kinds.get(name, "input") for name in names]


def _reads_int8(op: Any, kinds: dict[str, str]) -> bool:
    sources = _sources(op, kinds)
    data = [kind for kind in sources if kind != "const" and not kind.startswith("constexpr")]
    stored = op.type not in WEIGHTED or any(kind.startswith("constexpr") or kind == "dequantize" for kind in sources)
    return stored and bool(data) and all(kind == "dequantize" for kind in data)


def _fallback(op: Any, kinds: dict[str, str]) -> Fallback:
    before = sorted({kind for kind in _sources(op, kinds) if kind not in ("const", "dequantize")})
    reason = f"fp16: its input comes from {', '.join(before) or 'float'}, without an int8 pair between"
    return Fallback(op=op.type, node=op.outputs[0].name, reason=reason)
