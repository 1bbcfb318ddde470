"""A compiler whose tool runs in a process of its own: it copies an ONNX file, or fails as an option says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.exported import Conversion

NAME = "copier"


@dataclass(frozen=True, kw_only=True)
class FakeCompiler:
    """Produces `format`; `provable_by` names the engines that may run it."""

    name: str = NAME
    title: str = "Copier"
    suffix: str = ".onnx"
    reads: str = "onnx"
    format: str = "onnx"
    precisions: tuple[str, ...] = ("fp32",)
    options: Mapping[str, str] = field(default_factory=lambda: {"fault": "how to fail"})
    provable_by: tuple[str, ...] = ()
    python: str = sys.executable
    time_limit_s: float = 60.0

    def check(self) -> None:
        """Return: the tool is this file."""

    def compile(self, artifact: Artifact, *, folder: Path, options: Mapping[str, str]) -> Conversion:
        from edgeseg.core.exported import Conversion
        from edgeseg.core.records import decode_record, encode_record
        from edgeseg.core.vendor_process import run_tool

        manifest = artifact.manifest
        answer = run_tool(
            [self.python, Path(__file__)],
            {"source": str(artifact.entry), "folder": str(folder), "fault": options.get("fault", "")},
            name=self.title,
            log_folder=folder.parent / "logs",
            time_limit_s=self.time_limit_s,
        )
        rest = {
            "input": manifest.inputs[0], "output": manifest.outputs[0], "scheme": manifest.scheme,
            "preprocess": manifest.preprocess, "provable_by": self.provable_by, "report": manifest.report,
        }  # fmt: skip
        return decode_record(
            Conversion, {**answer, **{key: encode_record(value) for key, value in rest.items()}}, where=self.name
        )


def main() -> None:
    """Be the tool."""
    request = json.loads(sys.stdin.readline())
    print("Copier 1.0, a banner")
    fault = request["fault"]
    if fault == "crash":
        print("segment 3 is too large", file=sys.stderr, flush=True)
        os.abort()
    if fault == "exit":
        sys.exit("no licence")
    if fault == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(request["folder"]).parent.joinpath("child.pid").write_text(str(child.pid))
        time.sleep(600)
    if fault == "malformed":
        print("done!")
        return
    shutil.copyfile(request["source"], Path(request["folder"]) / "model.onnx")
    entry = "../model.onnx" if fault == "escape" else "model.onnx"
    op = {"op": "Conv", "node": "conv", "unit": "npu", "dtype": "int8", "reason": ""}
    print(json.dumps({"entry": entry, "ops": [op]}))


if __name__ == "__main__":
    main()
