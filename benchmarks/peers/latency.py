"""`edgeseg bench` against the engines' own benchmarks and plain loops, on the same files, in turn.

Usage: python benchmarks/peers/latency.py ARTIFACT... [--threads N] [--runs N] [--rounds N] [--json FILE]
OpenVINO: `benchmark_app`, synchronous, and a plain loop; LiteRT and ONNX Runtime: a plain loop over `invoke` or `run`.
Each is a process of its own with the settings that edgeseg has. Ours is the p50 of the stage `infer`: from the prepared
tensor to a checked copy of the output. `benchmark_app` prints what OpenVINO itself counts: the net alone, without the
call, the input or the output. Prints a line for each artifact and peer: both medians, and that of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from edgeseg.bench import measure_latency
from edgeseg.bench.devices import describe_device
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
def call():
    interpreter.invoke()
"""
ONNXRUNTIME = """
import statistics, sys, time
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
tensor = {given.name: np.zeros(given.shape, np.uint8 if given.type == "tensor(uint8)" else np.float32)}
def call():
    session.run(None, tensor)
"""
OPENVINO = """
import statistics, sys, time
import numpy as np
import openvino
config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": int(sys.argv[2]), "NUM_STREAMS": 1,
          "INFERENCE_PRECISION_HINT": "f32"}
request = openvino.Core().compile_model(sys.argv[1], "CPU", config).create_infer_request()
given = request.get_input_tensor(0)
tensor = np.zeros(given.shape, given.data.dtype)
def call():
    request.infer({0: tensor}, share_inputs=True)
"""
TIMED = """
times = []
for number in range(int(sys.argv[3]) + 20):
    started = time.perf_counter()
    call()
    if number >= 20:
        times.append(time.perf_counter() - started)
print(1000 * statistics.median(times))
"""
BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"
LOOPS = {"openvino": OPENVINO, "litert": LITERT, "onnxruntime": ONNXRUNTIME}
PACKAGES = {"openvino": "openvino", "litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


def benchmark_app(model: Path, *, threads: int, runs: int) -> float:
    """Return the median in ms that OpenVINO's own benchmark prints."""
    command = [sys.executable, "-c", BENCHMARK_APP, "-m", str(model), "-api", "sync", "-hint", "none"]
    command += ["-nthreads", str(threads), "-nstreams", "1", "-niter", str(runs), "-infer_precision", "f32"]
    printed = output(command)
    found = re.search(r"Median:\s+([0-9.]+) ms", printed)
    if found is None:
        raise SystemExit(f"benchmark_app printed no median:\n{printed[-500:]}")
    return float(found[1])


def plain_loop(engine: str, model: Path, *, threads: int, runs: int) -> float:
    """Return the median in ms of a plain loop in a process of its own."""
    return float(output([sys.executable, "-c", LOOPS[engine] + TIMED, str(model), str(threads), str(runs)]))


def output(command: list[str]) -> str:
    """Return what a command prints; ends this program with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise SystemExit(f"{Path(command[0]).name} failed: {lines[-1]}")
    return done.stdout


def peers(engine: str, model: Path, *, threads: int, runs: int) -> dict[str, float]:
    """Return the median in ms of each of an engine's peers."""
    found = {"plain loop": plain_loop(engine, model, threads=threads, runs=runs)}
    if engine == "openvino":
        found["benchmark_app"] = benchmark_app(model, threads=threads, runs=runs)
    return found


def ours(folder: Path, *, threads: int, runs: int) -> float:
    """Return the p50 in ms of the engine's part in `edgeseg bench`."""
    with load(folder, threads=threads) as session:
        stage = measure_latency(session, runs=runs, memory=False).stage("infer")
    if stage is None:
        raise SystemExit(f"{folder}: a reference engine has no latency.")
    return stage.p50_ms


def compare(folder: Path, *, threads: int, runs: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for each peer of an artifact's engine, after printing it."""
    artifact = open_artifact(folder)
    engine = artifact.manifest.engine
    if engine not in LOOPS:
        raise SystemExit(f"{folder}: no peer for {engine}; there is one for {', '.join(LOOPS)}.")
    mine: list[float] = []
    theirs: dict[str, list[float]] = {}
    for _ in range(rounds):
        mine.append(ours(folder, threads=threads, runs=runs))
        for peer, median_ms in peers(engine, artifact.entry, threads=threads, runs=runs).items():
            theirs.setdefault(peer, []).append(median_ms)
    rows: list[dict[str, object]] = []
    for peer, medians in theirs.items():
        ratio = statistics.median(one / other for one, other in zip(mine, medians, strict=True))
        row = {
            "artifact": artifact.manifest.name,
            "engine": engine,
            "engine_version": metadata.version(PACKAGES[engine]),
            "threads": threads,
            "runs": runs,
            "peer": peer,
            "ours_ms": round(statistics.median(mine), 3),
            "peer_ms": round(statistics.median(medians), 3),
            "ratio": round(ratio, 3),
            "rounds_ms": [[round(value, 3) for value in pair] for pair in zip(mine, medians, strict=True)],
        }
        rows.append(row)
        print(f"{row['artifact']}: {row['ours_ms']:.2f} ms, {peer} {row['peer_ms']:.2f} ms, ratio {ratio:.3f}")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    rows = [
        row
        for folder in options.artifacts
        for row in compare(folder, threads=options.threads, runs=options.runs, rounds=options.rounds)
    ]
    if options.json:
        names = " ".join(folder.name for folder in options.artifacts)
        words = f"benchmarks/peers/latency.py {names} --threads {options.threads} --runs {options.runs}"
        stored = {
            "command": f"python {words} --rounds {options.rounds}",
            "cpu": describe_device().cpu,
            "rows": rows,
        }
        options.json.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
