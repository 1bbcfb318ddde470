"""`edgeseg bench` against the engines' own benchmarks and plain loops, on the same files, in turn.

Usage: python benchmarks/peers/latency.py ARTIFACT... [--threads N] [--runs N] [--rounds N] [--json FILE]
OpenVINO: `benchmark_app`, synchronous. LiteRT and ONNX Runtime: a plain loop over `invoke` or `run`, in a process of
its own. Ours is the p50 of the stage `infer`. Prints one line an artifact: the medians of both, and that of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

from edgeseg.bench import measure_latency
from edgeseg.core.artifact import open_artifact
from edgeseg.runtime import load

LITERT = """
import statistics, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
given = interpreter.get_input_details()[0]
interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
"""
ONNXRUNTIME = """
import statistics, sys, time
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
tensor = {given.name: np.zeros(given.shape, np.uint8 if given.type == "tensor(uint8)" else np.float32)}
"""
TIMED = """
times = []
for number in range(int(sys.argv[3]) + 20):
    started = time.perf_counter()
    {call}
    if number >= 20:
        times.append(time.perf_counter() - started)
print(1000 * statistics.median(times))
"""


def benchmark_app(model: Path, *, threads: int, runs: int) -> float:
    """Return the median in ms that OpenVINO's own benchmark prints."""
    command = [str(Path(sys.executable).parent / "benchmark_app"), "-m", str(model), "-api", "sync", "-hint", "none"]
    command += ["-nthreads", str(threads), "-nstreams", "1", "-niter", str(runs), "-infer_precision", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Median:\s+([0-9.]+) ms", done.stdout)
    if found is None:
        raise SystemExit(f"benchmark_app printed no median:\n{done.stdout[-500:]}")
    return float(found[1])


def plain(opening: str, call: str, model: Path, *, threads: int, runs: int) -> float:
    """Return the median in ms of a plain loop in a process of its own."""
    code = opening + TIMED.format(call=call)
    command = [sys.executable, "-c", code, str(model), str(threads), str(runs)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def theirs(engine: str, model: Path, *, threads: int, runs: int) -> tuple[str, float]:
    """Return the name of an engine's peer and its median in ms."""
    if engine == "openvino":
        return "benchmark_app", benchmark_app(model, threads=threads, runs=runs)
    if engine == "litert":
        return "plain loop", plain(LITERT, "interpreter.invoke()", model, threads=threads, runs=runs)
    if engine == "onnxruntime":
        return "plain loop", plain(ONNXRUNTIME, "session.run(None, tensor)", model, threads=threads, runs=runs)
    raise SystemExit(f"{model}: no peer for {engine}; there is one for openvino, litert and onnxruntime.")


def ours(folder: Path, *, threads: int, runs: int) -> float:
    """Return the p50 in ms of the engine's part in `edgeseg bench`."""
    with load(folder, threads=threads) as session:
        stage = measure_latency(session, runs=runs, memory=False).stage("infer")
    if stage is None:
        raise SystemExit(f"{folder}: a reference engine has no latency.")
    return stage.p50_ms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    rows = []
    for folder in options.artifacts:
        artifact = open_artifact(folder)
        engine, name = artifact.manifest.engine, ""
        pairs = []
        for _ in range(options.rounds):
            mine = ours(folder, threads=options.threads, runs=options.runs)
            name, other = theirs(engine, artifact.entry, threads=options.threads, runs=options.runs)
            pairs.append((mine, other))
        ratio = statistics.median(mine / other for mine, other in pairs)
        row = {
            "artifact": artifact.manifest.name,
            "engine": engine,
            "threads": options.threads,
            "peer": name,
            "ours_ms": statistics.median(mine for mine, _ in pairs),
            "peer_ms": statistics.median(other for _, other in pairs),
            "ratio": ratio,
            "rounds": [[round(value, 3) for value in pair] for pair in pairs],
        }
        rows.append(row)
        print(f"{row['artifact']}: {row['ours_ms']:.2f} ms, {name} {row['peer_ms']:.2f} ms, ratio {ratio:.3f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
