"""Runs in Core AI's environment, as a script: converts a torch program, and says of which ops the result consists.

Input, one JSON object: path (where edgeseg's own torch lies), source (.pt2), target (.aimodel), input, output (names).
Output, the last line: what convert.py's `_Answer` holds. Nothing of edgeseg is imported here.
"""

import importlib.metadata
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

_TYPES = {"f32": "float32", "f16": "float16"}
_LINE = re.compile(r'\s*%(?P<node>\w+)(?::\d+)? = "coreai\.(?P<op>[\w.]+)"\(.*-> tensor<(?:[\d?]+x)*(?P<type>\w+)>')
_CALLEE = re.compile(r'callee = [^@]*@"?([\w.]+?)(?:_composite_\w+)?[">]')
_PLUMBING = ("constant", "cast")
_DATE = "19800101T000000Z"
"""Instead of the date; the writer still names the graphs of some ops at random."""


def _main() -> None:
    """Read the request, convert, read the result again, and print the answer."""
    request = json.loads(sys.stdin.readline())
    sys.path += request["path"]
    # Its version check reads PyTorch's CPU build as newer than the one that it was tested with.
    warnings.filterwarnings("ignore", message="coreai-torch has only been validated")
    import coreai_torch
    import torch
    from coreai.authoring import asset

    target = Path(request["target"])
    program = torch.export.load(request["source"])
    _without_places(program)
    program = program.run_decompositions(coreai_torch.get_decomp_table())
    converter = coreai_torch.TorchConverter().add_exported_program(
        program, input_names=[request["input"]], output_names=[request["output"]]
    )
    converter.to_coreai().save_asset(target)
    metadata = target / "metadata.json"
    metadata.write_text(
        json.dumps({**json.loads(metadata.read_text()), "creationDate": _DATE}, indent=2, sort_keys=True)
    )
    stored = asset.AIProgram._load_bytecode(target / "main.mlirb")  # noqa: SLF001 - Linux has no public way to read a file
    text = stored._module._mlir_module.operation.get_asm(print_generic_op_form=True)  # noqa: SLF001 - see above
    versions = {name: importlib.metadata.version(name) for name in ("coreai-torch", "coreai-core")}
    print(json.dumps({"versions": versions, "ops": computing_ops(text)}))


def _without_places(program: Any) -> None:
    """Remove the source lines of each op: paths of this machine, which the converter would store in the file."""
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", program.graph).nodes:
            node.meta.pop("stack_trace", None)


def computing_ops(text: str) -> list[dict[str, str]]:
    """Return the computing ops of the graph `main` in MLIR's generic text.

    An op that calls another graph, such as a pool with padding, has that graph's name.
    """
    found = []
    inside = False
    for line in text.splitlines():
        if '"coreai.graph"' in line:
            inside = 'sym_name = "main"' in line
        match = _LINE.match(line) if inside else None
        if match is None or match["op"] in _PLUMBING:
            continue
        callee = _CALLEE.search(line) if match["op"] == "invoke" else None
        name = callee[1] if callee else match["op"].removeprefix("decomposable.")
        found.append({"op": name, "node": match["node"], "dtype": _TYPES.get(match["type"], "")})
    return found


if __name__ == "__main__":
    _main()
