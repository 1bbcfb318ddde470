"""A Core AI program, its constants decoded, ready to be evaluated many times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines.coreai.constants import decode_constant, element_dtype
from edgeseg.runtime.engines.coreai.kernels import COREAI_KERNELS
from edgeseg.runtime.engines.coreai.mlir_text import CoreAIGraph, CoreAIOp, read_mlir
from edgeseg.runtime.engines.mil.precision import to_half

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OTHERWISE = ("constant", "invoke")
_NAMED = 8
_CALLEE = re.compile(r'callee = [^@]*@"?([^">\s,]+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreAIProgram:
    """The graphs of a program, and for each the values of its constants by name."""

    graphs: dict[str, CoreAIGraph]
    constants: dict[str, dict[str, NDArray[Any]]]

    def evaluate(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the first output of `main` for its one input; halves are rounded after each op and come as float32.

        Raises:
            ArtifactError: an op's result has another shape than the program declares.
            UnsupportedError: an op in a form that is not known here.
        """
        (kind,) = self.graphs["main"].types
        given = to_half(tensor) if kind.element == "f16" else tensor.astype(element_dtype(kind.element))
        return self._run("main", [given])[0]

    def _run(self, name: str, arguments: list[NDArray[Any]]) -> list[NDArray[Any]]:
        graph = self.graphs[name]
        known = {**self.constants[name], **dict(zip(graph.arguments, arguments, strict=True))}
        last = {operand: op.line for op in graph.ops for operand in op.operands}
        for op in graph.ops:
            if op.name == "constant":
                continue
            operands = [known[operand] for operand in op.operands]
            known.update(zip(op.results, self._compute(op, operands), strict=True))
            for operand in op.operands:
                if last[operand] == op.line and operand not in graph.outputs:
                    known.pop(operand, None)
        return [known[output] for output in graph.outputs]

    def _compute(self, op: CoreAIOp, operands: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if op.name == "invoke":
            made = self._run(_callee(op), operands)
        else:
            computed = COREAI_KERNELS[op.name](op, *operands)
            made = list(computed) if isinstance(computed, tuple) else [computed]
        for kind, result in zip(op.types, made, strict=True):
            if not kind.fits(result.shape):
                raise ArtifactError(
                    f"Line {op.line} of the Core AI program: {op.name} gives {result.shape}, not {kind.shape}."
                )
        return [
            to_half(result) if kind.element == "f16" else result for kind, result in zip(op.types, made, strict=True)
        ]


def read_coreai(text: str) -> CoreAIProgram:
    """Return the evaluator of a program's MLIR text in the generic form.

    Raises:
        UnsupportedError: ops that are not known here, each with its line; or several inputs.
        ArtifactError: text that is no Core AI program, or constants that are missing.
    """
    found = read_mlir(text)
    _refuse_unknown(found.graphs)
    if len(found.graphs["main"].arguments) != 1:
        raise UnsupportedError("The reference evaluator takes one input.")
    constants = {
        name: {op.results[0]: decode_constant(op, found.resources) for op in graph.ops if op.name == "constant"}
        for name, graph in found.graphs.items()
    }
    return CoreAIProgram(graphs=found.graphs, constants=constants)


def _refuse_unknown(graphs: dict[str, CoreAIGraph]) -> None:
    ops = [op for graph in graphs.values() for op in graph.ops]
    unknown = {op.name: op.line for op in ops if op.name not in COREAI_KERNELS and op.name not in _OTHERWISE}
    unknown |= {_callee(op): op.line for op in ops if op.name == "invoke" and _callee(op) not in graphs}
    if unknown:
        listed = "; ".join(f'line {line}: "{name}"' for name, line in list(unknown.items())[:_NAMED])
        raise UnsupportedError(f"The reference evaluator does not know {listed}. Run the file with Core AI on a Mac.")


def _callee(op: CoreAIOp) -> str:
    found = _CALLEE.search(op.attributes)
    return found[1] if found else "invoke"
