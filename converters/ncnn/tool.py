"""Runs in a process of its own, as a script: pnnx on an ONNX file, and ncnn's own loader on what it wrote.

Input, one JSON object: path (sys.path), source, param, weights, shape, half. Output, the last line: {"layers": N}.
Nothing of edgeseg is imported here.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def _main() -> None:
    """Read the request, convert, load the result once, and print the answer."""
    request = json.loads(sys.stdin.readline())
    sys.path[:] = request["path"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copyfile(request["source"], work / "model.onnx")
        shape = ",".join(str(size) for size in request["shape"])
        command = [str(_program()), "model.onnx", f"inputshape=[{shape}]", f"fp16={int(request['half'])}"]
        done = subprocess.run(
            command,
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(done.stdout, file=sys.stderr)
        if done.returncode:
            sys.exit(f"pnnx failed with exit status {done.returncode}.")
        param, weights = work / "model.ncnn.param", work / "model.ncnn.bin"
        if not param.is_file() or not weights.is_file():
            sys.exit("pnnx wrote no ncnn file.")
        layers = _load(param, weights)
        shutil.copyfile(param, request["param"])
        shutil.copyfile(weights, request["weights"])
    print(json.dumps({"layers": layers}))


def _program() -> Path:
    """Return pnnx's program; its Python package would import torch."""
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        sys.exit("pnnx is not installed.")
    return Path(found.origin).parent / ("pnnx.exe" if os.name == "nt" else "pnnx")


def _load(param: Path, weights: Path) -> int:
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    if net.load_param(str(param)) != 0:
        sys.exit("ncnn lacks a layer that pnnx left in the graph, see above.")
    if net.load_model(str(weights)) != 0:
        sys.exit("ncnn does not load the weights that pnnx wrote.")
    return len(net.layers())


if __name__ == "__main__":
    _main()
