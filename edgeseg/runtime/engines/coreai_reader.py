"""Runs in Core AI's environment, as a script: writes a stored program as MLIR text in the generic form.

Input, one JSON object: source (.aimodel), target (a text file). Output, the last line: {"version": coreai-core's}.
Nothing of edgeseg is imported here.
"""

import importlib.metadata
import json
import sys
from pathlib import Path


def _main() -> None:
    """Read the request, write the text, and print the answer."""
    request = json.loads(sys.stdin.readline())
    sys.path += request["path"]
    from coreai.authoring import asset

    program = asset.AIProgram._load_bytecode(Path(request["source"]) / "main.mlirb")  # noqa: SLF001 - Linux has no public way to read a file
    text = program._module._mlir_module.operation.get_asm(print_generic_op_form=True)  # noqa: SLF001 - see above
    Path(request["target"]).write_text(text, encoding="utf-8")
    print(json.dumps({"version": importlib.metadata.version("coreai-core")}))


if __name__ == "__main__":
    _main()
