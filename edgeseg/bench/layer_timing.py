"""The time of one layer on an engine, from a file with only this layer."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.openvino_core import openvino_core
from edgeseg.core.requirements import require_modules
from edgeseg.core.suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

# Steps that convert to the engine's own layout and back: in a net they happen once, not around each layer.
LAYOUT_OPS = frozenset(
    {"ReorderInput", "ReorderOutput", "Transpose", "Reorder", "Parameter", "Result", "Input", "Output"}
)


def time_layer(file: Path, *, engine: str, threads: int, image: np.ndarray, runs: int = 30) -> float:
    """Return the median time in milliseconds of the layer in `file` over `runs` runs, three of them to warm up first.

    ONNX Runtime and OpenVINO report the time of each step that they run; those that only change a tensor's layout
    are left out; LiteRT, which keeps one layout, is timed as a whole.

    Raises:
        UnknownName: an engine for which layers cannot be timed.
        MissingDependency: the engine is not installed.
    """
    if engine not in LAYER_TIMERS:
        raise unknown("engine for layer times", engine, LAYER_TIMERS)
    return LAYER_TIMERS[engine](file, threads, image, runs + 3)


def _onnxruntime(file: Path, threads: int, image: np.ndarray, runs: int) -> float:
    require_modules(("onnxruntime",), what="Timing layers on ONNX Runtime", extra="onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(file), sess_options=options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for _ in range(runs):
            session.run(None, {name: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    steps: dict[str, list[float]] = {}
    for event in events:
        ran = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if ran and event["args"].get("op_name") not in LAYOUT_OPS:
            steps.setdefault(event["name"], []).append(event["dur"] / 1e3)
    return sum(float(np.median(times[3:])) for times in steps.values())


def _openvino(file: Path, threads: int, image: np.ndarray, runs: int) -> float:
    require_modules(("openvino",), what="Timing layers on OpenVINO", extra="openvino")
    config: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True,
    }  # fmt: skip
    request = openvino_core().compile_model(str(file), "CPU", config).create_infer_request()
    times = []
    for _ in range(runs):
        request.infer({0: image})
        steps = [step for step in request.profiling_info if step.node_type not in LAYOUT_OPS]
        times.append(sum(step.real_time.total_seconds() for step in steps) * 1e3)
    return float(np.median(times[3:]))


def _litert(file: Path, threads: int, image: np.ndarray, runs: int) -> float:
    require_modules(("ai_edge_litert",), what="Timing layers on LiteRT", extra="tflite")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times[3:]))


LAYER_TIMERS: dict[str, Callable[[Path, int, np.ndarray, int], float]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "litert": _litert,
}
