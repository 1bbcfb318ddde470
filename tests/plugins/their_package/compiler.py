"""A compiler: ONNX Runtime's offline optimization, by a tool in a process of its own (here this file, as a script)."""

import dataclasses
import json
import sys
import time
from pathlib import Path

ENTRY = "model.onnx"
LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OfflineCompiler:
    name: str = "ort-offline"
    title: str = "ONNX Runtime offline optimization"
    suffix: str = ".onnx"
    reads: str = "onnx"
    format: str = "onnx"
    precisions: tuple[str, ...] = ("fp32", "int8")
    options: dict[str, str] = dataclasses.field(default_factory=lambda: {"level": "basic or extended (default)"})

    def check(self) -> None:
        """Return if the tool can run here; raises `MissingDependency`."""
        from edgeseg.core.requirements import require_modules

        require_modules(("onnxruntime", "onnx"), what="Offline optimization", extra="convert-onnx")

    def compile(self, artifact, *, folder, options):
        """Write the optimized file into `folder`; raises `ConversionError` with the tool's last words."""
        from edgeseg.core.conversion_report import conversion_report
        from edgeseg.core.exported import Conversion
        from edgeseg.core.placement import OpPlacement
        from edgeseg.core.vendor_process import run_tool
        from edgeseg.errors import InputError

        level = options.get("level", "extended")
        if level not in LEVELS:
            raise InputError(f"{self.name}: level is {level}; it can be {' or '.join(LEVELS)}.")
        started = time.perf_counter()
        answer = run_tool(
            [sys.executable, Path(__file__)],
            {"source": str(artifact.entry), "target": str(folder / ENTRY), "level": LEVELS[level]},
            name=self.title,
            log_folder=folder.parent / "logs",
            time_limit_s=120,
        )
        manifest = artifact.manifest
        ops = tuple(
            OpPlacement(op=op, node=node, unit="cpu", dtype="int8" if "QLinear" in op else "")
            for op, node in answer["ops"]
        )
        return Conversion(
            entry=ENTRY,
            input=manifest.inputs[0],
            output=manifest.outputs[0],
            scheme=manifest.scheme,
            preprocess=manifest.preprocess,
            ops=ops,
            provable_by=("onnxruntime",),
            report=conversion_report(ops, tools=("onnxruntime",), started=started),
        )


def main() -> None:
    """Be the tool: a JSON request on stdin, a JSON answer as the last line of stdout."""
    import onnx
    import onnxruntime

    request = json.loads(sys.stdin.readline())
    print("ONNX Runtime", onnxruntime.__version__)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, request["level"])
    settings.optimized_model_filepath = request["target"]
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(request["source"], settings, providers=["CPUExecutionProvider"])
    graph = onnx.load(request["target"], load_external_data=False).graph
    print(json.dumps({"ops": [[node.op_type, node.name or node.output[0]] for node in graph.node]}))


COMPILER = OfflineCompiler()

if __name__ == "__main__":
    main()
