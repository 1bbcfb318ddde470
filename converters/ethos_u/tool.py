"""Runs in Vela's environment, as a script: compiles a TFLite file and says where each of its operators went.

Input, one JSON object: source, target, arguments (Vela's). Output, the last line: what compile.py's `_Answer` holds.
Nothing of edgeseg is imported here, and nothing that is not in that environment.
"""

import csv
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CUSTOM = "CUSTOM"
ETHOS_U = "ethos-u"
DATA_INPUT = {"TRANSPOSE_CONV": 2, "SPLIT": 1}
"""Where the activations stand among the inputs of ops whose first input is a shape or an axis."""
_REASON = re.compile(
    r"^Warning \((?P<kind>[^)]*)\) operator: (?P<op>\w+), ofm: '(?P<node>[^']*)'\s*\nReason: (?P<reason>[^\n]*)", re.M
)


def main() -> None:
    """Read the request, run Vela, print the answer."""
    request = json.loads(sys.stdin.readline())
    source = Path(request["source"])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "ethosu.vela", str(source), "--output-dir", folder]
        # A process of its own: what its C++ part prints is needed too.
        done = subprocess.run(
            [*command, "--verbose-performance", *request["arguments"]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(done.stdout, file=sys.stderr)
        if done.returncode:
            sys.exit(done.returncode)
        compiled = Path(folder) / f"{source.stem}_vela.tflite"
        if not compiled.is_file():
            sys.exit("Vela wrote no file.")
        summary = _summary(Path(folder))
        ops = _placed(operators(source), operators(compiled), _reasons(done.stdout), _cycles(Path(folder)))
        shutil.copyfile(compiled, request["target"])
    print(json.dumps({"version": importlib.metadata.version("ethos-u-vela"), "ops": ops, **summary}))


def operators(path: Path) -> list[tuple[str, str, str]]:
    """Return (name, output tensor, type) of each operator of a TFLite file; `ethos-u` for the NPU's own."""
    from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
    from ethosu.vela.tflite.Model import Model
    from ethosu.vela.tflite.TensorType import TensorType

    names = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
    types = {code: name.lower() for name, code in vars(TensorType).items() if isinstance(code, int)}
    model = Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    found = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name == CUSTOM and code.CustomCode() is not None:
            name = code.CustomCode().decode()
        output, data = graph.Tensors(operator.Outputs(0)), graph.Tensors(operator.Inputs(DATA_INPUT.get(name, 0)))
        found.append((name, (output.Name() or b"").decode(), types.get(data.Type(), "")))
    return found


_Operator = tuple[str, str, str]
"""An operator's name, its output's name and the type of its activations."""


def _placed(
    before: list[_Operator],
    after: list[_Operator],
    reasons: dict[tuple[str, str], str],
    cycles: dict[str, float],
) -> list[dict[str, Any]]:
    """Return every operator of the source with its unit: on the CPU is what the compiled file still holds itself."""
    on_cpu = [(name, node) for name, node, _ in after if name != ETHOS_U]
    ops = []
    for name, node, dtype in before:
        stays = (name, node) in on_cpu
        if stays:
            on_cpu.remove((name, node))
        ops.append(
            {
                "op": name,
                "node": node,
                "unit": "cpu" if stays else "npu",
                "dtype": dtype if dtype in ("int8", "int16", "float32") else "",
                "reason": reasons.get((name, node), "Vela gives no reason") if stays else "",
                "cycles": None if stays else cycles.get(node),
            }
        )
    ops.extend(
        {"op": name, "node": node, "unit": "cpu", "dtype": "", "reason": "added by Vela", "cycles": None}
        for name, node in on_cpu
    )
    return ops


def _reasons(text: str) -> dict[tuple[str, str], str]:
    return {(found["op"], found["node"]): found["reason"].strip() for found in _REASON.finditer(text)}


def _cycles(folder: Path) -> dict[str, float]:
    """Return the estimated cycles of each output tensor: Vela may split one operator into several rows."""
    totals: dict[str, float] = {}
    for path in folder.glob("*per-layer*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                totals[row["Name"]] = totals.get(row["Name"], 0.0) + float(row["Op Cycles"])
    return totals


def _summary(folder: Path) -> dict[str, object]:
    path = next(folder.glob("*summary*.csv"))
    with path.open(newline="") as file:
        row = next(csv.DictReader(file))
    return {
        "configuration": f"{row['accelerator_configuration']}, {row['system_config']}, {row['memory_mode']}",
        "latency_ms": 1000.0 * float(row["inference_time"]),
        "clock_mhz": float(row["core_clock"]) / 1e6,
        "cycles": float(row["cycles_total"]),
        "sram_kib": float(row["sram_memory_used"]),
        "dram_kib": float(row["dram_memory_used"]),
        "flash_kib": float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"]),
    }


if __name__ == "__main__":
    main()
