"""A format: `model.pt2`, the exported program as torch saves it. Its engine stands in engine.py."""

import dataclasses
import time

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion
from edgeseg.core.placement import OpPlacement
from edgeseg.core.requirements import require_modules

ENTRY = "model.pt2"
NOT_COMPUTING = ("quantize", "permute", "_assert", "aten.to.")
IN_FLOAT = "torch computes between quantize and dequantize in float"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pt2Converter:
    format: str = "pt2"
    title: str = "torch.export"
    suffix: str = ".pt2"
    engines: tuple[str, ...] = ("torch",)
    extra: str = "train"
    precisions: tuple[str, ...] = ("fp32", "int8")
    reads: tuple[str, ...] = ("folded",)
    normalisation: tuple[str, ...] = ("graph", "host")

    def check(self) -> None:
        """Return if torch is installed; raises `MissingDependency`."""
        require_modules(("torch", "torchao"), what="Converting to torch.export", extra=self.extra)

    def convert(self, exported, *, folder) -> Conversion:
        """Write `model.pt2` into `folder`."""
        import torch

        started = time.perf_counter()
        program = exported.folded_program()
        torch.export.save(program, folder / ENTRY)
        ops = census(program.graph, quantized=exported.scheme.needs_ranges)
        return Conversion(
            entry=ENTRY,
            input=exported.input,
            output=exported.output,
            scheme=exported.scheme,
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=("torch", "torchao"), started=started),
        )


def census(graph, *, quantized: bool) -> tuple[OpPlacement, ...]:
    """Return the program's computing ops: torch's CPU kernels run all of them in float."""
    calls = [(node, str(node.target)) for node in graph.nodes if node.op == "call_function"]
    return tuple(
        OpPlacement(op=op, node=node.name, unit="cpu", dtype="float32", reason=IN_FLOAT if quantized else "")
        for node, op in calls
        if not any(word in op for word in NOT_COMPUTING)
    )


CONVERTER = Pt2Converter()
