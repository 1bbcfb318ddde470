"""An ML program, its constants decoded and its ops resolved, ready to be evaluated many times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import UnsupportedError
from edgeseg.runtime.engines.mil.arguments import Arguments
from edgeseg.runtime.engines.mil.kernels import KERNELS, Kernel
from edgeseg.runtime.engines.mil.precision import to_half
from edgeseg.runtime.engines.mil.values import Value, decode_value, is_half

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.runtime.engines.mil.package import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One op: `inputs` names earlier results, `fixed` holds constants, `done_with` may be forgotten afterwards."""

    kernel: Kernel
    inputs: dict[str, tuple[str | None, ...]]
    fixed: dict[str, tuple[Value, ...]]
    output: str
    half: bool
    done_with: tuple[str, ...] = ()

    def compute(self, known: dict[str, np.ndarray]) -> np.ndarray:
        """Return the op's result from the results so far, rounded where the program stores halves."""
        values = dict(self.fixed)
        for name, sources in self.inputs.items():
            held = self.fixed.get(name, ())
            values[name] = tuple(
                held[place] if source is None else known[source] for place, source in enumerate(sources)
            )
        result = self.kernel.compute(Arguments(values=values, half=self.half))
        return to_half(result) if self.half and not self.kernel.exact else result


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The steps that depend on the input, in order; everything else was computed when the program was read."""

    input: str
    output: str
    steps: tuple[_Step, ...]

    def evaluate(self, tensor: np.ndarray) -> np.ndarray:
        """Return the program's output for an input tensor of numbers, read as float32."""
        known: dict[str, np.ndarray] = {self.input: tensor.astype(np.float32)}
        for step in self.steps:
            known[step.output] = step.compute(known)
            for name in step.done_with:
                del known[name]
        return known[self.output]


def read_program(package: Package, *, output_position: int = 0) -> Program:
    """Return the evaluator of a package's program, up to one of its outputs.

    Raises:
        UnsupportedError: ops that are not known here, each with its line; or several inputs.
        ArtifactError: a weight file that does not hold what the program names.
    """
    function = package.function
    block = function.block_specializations[function.opset]
    if len(function.inputs) != 1 or len(block.outputs) <= output_position:
        raise UnsupportedError(f"{package.folder}: the reference evaluator takes one input.")
    _refuse_unknown(block.operations)
    constants: dict[str, Value] = {}
    steps = [step for op in block.operations for step in _read(op, constants, package=package)]
    output = block.outputs[output_position]
    return Program(input=function.inputs[0].name, output=output, steps=tuple(_forgetting(steps, output=output)))


def _refuse_unknown(operations: Any) -> None:
    unknown = [
        f'line {line}: "{op.type}" (output {op.outputs[0].name})'
        for line, op in enumerate(operations, start=1)
        if op.type != "const" and (op.type not in KERNELS or len(op.outputs) != 1)
    ]
    if unknown:
        raise UnsupportedError(
            f"The reference evaluator does not know {'; '.join(unknown[:8])}. Run the package with Core ML on a Mac."
        )


def _read(op: Any, constants: dict[str, Value], *, package: Package) -> Iterator[_Step]:
    """Yield the op as a step, or compute it now where all that it reads is constant."""
    output = op.outputs[0]
    if op.type == "const":
        constants[output.name] = decode_value(op.attributes["val"], package=package)
        return
    inputs: dict[str, tuple[str | None, ...]] = {}
    fixed: dict[str, tuple[Value, ...]] = {
        name: (decode_value(held, package=package),) for name, held in op.attributes.items() if name != "name"
    }
    for name, argument in op.inputs.items():
        sources = tuple(
            None if not binding.name or binding.name in constants else binding.name for binding in argument.arguments
        )
        fixed[name] = tuple(_held(binding, constants, package=package) for binding in argument.arguments)
        if any(source is not None for source in sources):
            inputs[name] = sources
    step = _Step(kernel=KERNELS[op.type], inputs=inputs, fixed=fixed, output=output.name, half=is_half(output))
    if inputs:
        yield step
    else:
        constants[output.name] = step.compute({})


def _held(binding: Any, constants: dict[str, Value], *, package: Package) -> Value:
    if not binding.name:
        return decode_value(binding.value, package=package)
    return constants.get(binding.name, "")


def _forgetting(steps: list[_Step], *, output: str) -> Iterator[_Step]:
    """Yield the steps with the names that no later one reads, so that memory holds only what is still needed."""
    last: dict[str, int] = {}
    for place, step in enumerate(steps):
        for sources in step.inputs.values():
            last.update({source: place for source in sources if source is not None})
    for place, step in enumerate(steps):
        yield replace(step, done_with=tuple(name for name, end in last.items() if end == place and name != output))
