"""Who greps a public name finds one definition, except where several modules implement one concept."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
ROOMS = ("edgeseg", "converters", "calibration", "targets")
ALONE = "edgeseg/devices/agent.py"
"""A program that is sent to a device and runs there by itself: nothing imports its names."""
CONCEPTS = {
    # A verb of the command line is a module with these three.
    "HELP": "edgeseg/cli/",
    "configure": "edgeseg/cli/",
    "run": "edgeseg/cli/",
    # What an entry point names.
    "ARCHITECTURE": "edgeseg/models/nets/",
    "CAMERA": "edgeseg/runtime/cameras/",
    "ENGINE": "edgeseg/runtime/engines/",
    "READER": "edgeseg/data/",
    "SINK": "edgeseg/runtime/",
    "main": "edgeseg/",  # what a process starts
    # The steps of a converter, by the same names in each.
    "ENTRY": "converters/",
    "FORMAT": "converters/",
    "USAGE": "converters/",
    "census": "converters/",
    "executed_graph": "converters/",
    "halve_weights": "converters/",
    "lower": "converters/",
}
"""Names that several modules below one folder may define; at most one module elsewhere may define them too."""


def test_every_public_name_is_defined_once() -> None:
    homes = definitions()
    assert len(homes) > 1000
    again = {
        name: [path for path in paths if not path.startswith(CONCEPTS.get(name, "/"))] for name, paths in homes.items()
    }
    clashes = {name: paths for name, paths in again.items() if len(paths) > 1}
    assert not clashes, f"Two things of one name: give one of them a name that says more. {clashes}"


def test_the_named_concepts_have_several_implementations() -> None:
    homes = definitions()
    single = {name for name, folder in CONCEPTS.items() if sum(path.startswith(folder) for path in homes[name]) < 2}
    assert not single


def definitions() -> dict[str, list[str]]:
    """Return the modules, as paths, that define each public name at their top level."""
    homes: dict[str, list[str]] = defaultdict(list)
    for room in ROOMS:
        for path in sorted((TOP / room).rglob("*.py")):
            if path.name == "__init__.py" or path == TOP / ALONE:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for name in sorted({name for node in tree.body for name in names_of(node) if not name.startswith("_")}):
                homes[name].append(path.relative_to(TOP).as_posix())
    return homes


def names_of(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    flat = [name for target in targets for name in ast.walk(target)]
    return [name.id for name in flat if isinstance(name, ast.Name)]
