"""A Core AI program from its MLIR text in the generic form: graphs, ops, and their attributes as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.errors import ArtifactError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_GRAPH = re.compile(r'\s*"coreai\.graph"\(\) <\{(?P<properties>.*)\}>.*\(\{$')
_NAME = re.compile(r'sym_name = "([^"]+)"')
_ARGUMENT = re.compile(r"(%\w+): (tensor<[^>]*>)")
_OP = re.compile(
    r'\s*(?:(?P<results>%\w+)(?::(?P<count>\d+))? = )?"coreai\.(?P<name>[\w.]+)"\((?P<operands>[^)]*)\)'
    r"(?: <\{(?P<properties>.*)\}>)?(?: \{.*\})? : \([^)]*\) -> (?P<types>.*)$"
)
_TENSOR = re.compile(r"tensor<((?:(?:\d+|\?)x)*)([a-z]+\d+)(?:, [^>]*)?>")
_RESOURCE = re.compile(r'\s*([\w.]+): "0x([0-9A-Fa-f]*)",?$')


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorType:
    """A tensor's shape, with None for what is only known when the program runs, and its element type ("f32", "ui8")."""

    shape: tuple[int | None, ...]
    element: str

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a result of this shape is of this type."""
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == side for wanted, side in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreAIOp:
    """One op: its name without "coreai.", the names of what it reads and writes, and its attributes as text."""

    name: str
    operands: tuple[str, ...]
    results: tuple[str, ...]
    types: tuple[TensorType, ...]
    attributes: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreAIGraph:
    """A graph: its arguments, its ops in order, and the names of its results."""

    name: str
    arguments: tuple[str, ...]
    types: tuple[TensorType, ...]
    ops: tuple[CoreAIOp, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreAIText:
    """The graphs of a program by name, and the bytes of its large constants by theirs."""

    graphs: dict[str, CoreAIGraph]
    resources: dict[str, bytes]


def read_mlir(text: str) -> CoreAIText:
    """Return the graphs and constants of a program's MLIR text in the generic form.

    Raises:
        ArtifactError: text that is no Core AI program.
        UnsupportedError: a graph with control flow.
    """
    body, _, tail = text.partition("\n{-#")
    lines = iter(enumerate(body.splitlines(), start=1))
    graphs = {}
    for _, line in lines:
        found = _GRAPH.match(line)
        name = found and _NAME.search(found["properties"])
        if name:
            graphs[name[1]] = _graph(name[1], lines)
    if "main" not in graphs:
        raise ArtifactError("The Core AI program has no graph named main.")
    resources = {found[1]: bytes.fromhex(found[2])[4:] for found in map(_RESOURCE.match, tail.splitlines()) if found}
    return CoreAIText(graphs=graphs, resources=resources)


def tensor_types(text: str) -> tuple[TensorType, ...]:
    """Return the tensor types in a text.

    >>> tensor_types("tensor<1x?xf32>")
    (TensorType(shape=(1, None), element='f32'),)
    """
    return tuple(
        TensorType(
            shape=tuple(None if side == "?" else int(side) for side in found[1].split("x")[:-1]), element=found[2]
        )
        for found in _TENSOR.finditer(text)
    )


def _graph(name: str, lines: Iterator[tuple[int, str]]) -> CoreAIGraph:
    """Return the graph whose first line was read, up to its closing bracket."""
    arguments: list[tuple[str, str]] = []
    ops: list[CoreAIOp] = []
    for number, line in lines:
        words = line.strip()
        if words.startswith("^bb0("):
            arguments = _ARGUMENT.findall(words)
        elif words.startswith("})"):
            raise ArtifactError(f"The Core AI graph {name} ends without an output (line {number}).")
        else:
            ops.append(_op(line, number))
            if ops[-1].name == "output":
                break
    return CoreAIGraph(
        name=name,
        arguments=tuple(argument for argument, _ in arguments),
        types=tuple(tensor_types(kind)[0] for _, kind in arguments),
        ops=tuple(ops[:-1]),
        outputs=ops[-1].operands if ops else (),
    )


def _op(line: str, number: int) -> CoreAIOp:
    found = _OP.match(line)
    if found is None:
        raise UnsupportedError(f"Line {number} of the Core AI program cannot be read: {line.strip()[:80]}")
    result, count = found["results"], int(found["count"] or 1)
    results = () if result is None else (result,) if found["count"] is None else _numbered(result, count)
    return CoreAIOp(
        name=found["name"],
        operands=tuple(part.strip() for part in found["operands"].split(",") if part.strip()),
        results=results,
        types=tensor_types(found["types"]),
        attributes=found["properties"] or "",
        line=number,
    )


def _numbered(result: str, count: int) -> tuple[str, ...]:
    return tuple(f"{result}#{place}" for place in range(count))
