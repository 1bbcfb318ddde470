"""Seeded fuzzing of every reader: whatever a file holds, it is read, or refused with one printable line.

Half of the cases are valid files with values replaced, keys renamed, dropped or nested; the others are bytes. The seeds
are fixed (`derandomize`), so that a failure here is the same everywhere.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench import measured
from contracts import tiny_artifact as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgeseg.models
import edgeseg.train
from edgeseg import targets
from edgeseg.bench.record import read_measurement
from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import read_json, read_toml
from edgeseg.core.lineage import LINEAGE_FILE, LineageRecord
from edgeseg.core.manifest_schema import digest
from edgeseg.core.quantization import RANGES_FILE, read_ranges
from edgeseg.core.receipt import ProofReceipt
from edgeseg.core.records import encode_record
from edgeseg.core.spec import ModelSpec
from edgeseg.data.description import Description
from edgeseg.errors import EdgesegError
from edgeseg.targets import find_target
from edgeseg.train.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

STORED = Path(__file__).parent / "stored"
MODEL = Path(next(iter(edgeseg.models.__path__))) / "bundled" / "fast_scnn-camvid-half"
RECIPE = Path(next(iter(edgeseg.train.__path__))) / "recipes" / "fast_scnn-camvid.toml"
TARGET = Path(next(iter(targets.__path__))) / "raspberry-pi-5.toml"
RECEIPT = {
    "schema": 1, "created": "2026-01-01", "edgeseg_version": "0.1.0", "artifact": "a", "artifact_sha256": "0" * 64,
    "device": "d", "engine": "e", "engine_version": "1", "delegate": "cpu", "threads": 1, "agreement": 1.0,
    "min_agreement": 0.99, "reference_agreement": 0.9,
}  # fmt: skip
HOSTILE: list[Any] = [
    None, True, 0, -1, 1, 999, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "\0", "\ud800",
    "\x1b[31m", "../../etc/passwd", "/dev/zero", "x" * 10_000, [], {}, [[]], [None], [0, 0], {"": ""}, {"schema": 1},
]  # fmt: skip
LONGEST = 2000

EXAMPLES = settings(
    max_examples=int(os.environ.get("EDGESEG_FUZZ", "100")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Return the path of every value in a table, at most the first three of a list."""
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            found += places(item, (*path, index))
    return found


@st.composite
def broken(draw: st.DrawFn, table: dict[str, Any]) -> Any:
    """Return a copy of `table` with one to three changes."""
    table = copy.deepcopy(table)
    for _ in range(draw(st.integers(1, 3))):
        found = places(table)[1:] or [("schema",)]
        # Half of the changes are near the top: migrations of older files work there, and most places are deep.
        shallow = [path for path in found if len(path) <= 2] or found
        path = draw(st.one_of(st.sampled_from(shallow), st.sampled_from(found)))
        inner: Any = table
        for key in path[:-1]:
            inner = inner[key]
        how = draw(st.sampled_from(["replace", "replace", "drop", "rename", "nest", "add"]))
        last: Any = path[-1]
        if how == "replace":
            inner[last] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
        elif how == "drop" and isinstance(inner, dict):
            inner.pop(last, None)
        elif how == "rename" and isinstance(inner, dict):
            inner[draw(st.text(max_size=8))] = inner.pop(last, None)
        elif how == "nest":
            inner[last] = [inner[last]] if last in inner or isinstance(inner, list) else []
        elif how == "add" and isinstance(inner, dict):
            inner[draw(st.text(max_size=8))] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    return table


def toml(value: Any) -> str:
    """Return a value as TOML where there is a way to write it, and as something like TOML where there is none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf"
    return json.dumps(value)


def held(read: Callable[[], object]) -> None:
    """Read, and check that a refusal is one of ours and fit for a terminal."""
    try:
        read()
    except EdgesegError as error:
        text = str(error)
        assert all(line.isprintable() for line in text.split("\n")), repr(text)
        assert 0 < len(text) <= LONGEST, len(text)


def seal(table: Any) -> bytes:
    """Return a manifest with the hash that fits it, as an attacker would write it."""
    if isinstance(table, dict):
        try:
            table["self_sha256"] = digest(table)
        except UnicodeEncodeError:  # half a surrogate pair has no bytes, hence no hash
            table["self_sha256"] = "0" * 64
    return json.dumps(table).encode()


def read_manifest(folder: Path) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        shutil.copyfile(path, folder / "manifest.json")
        return open_artifact(folder)

    return read


def load_table(path: Path) -> dict[str, Any]:
    import tomllib

    text = path.read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    return table


def measurement() -> dict[str, Any]:
    table = encode_record(measured.measurement())
    assert isinstance(table, dict)
    return table


JSON_READERS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[Path], object]]] = {
    "spec": (lambda: load_table(MODEL / "spec.json"), lambda path: read_json(ModelSpec, path)),
    "ranges": (lambda: load_table(MODEL / RANGES_FILE), read_ranges),
    "lineage": (lambda: load_table(MODEL / LINEAGE_FILE), lambda path: read_json(LineageRecord, path)),
    "receipt": (lambda: dict(RECEIPT), lambda path: read_json(ProofReceipt, path)),
    "measurement": (measurement, read_measurement),
}
TOML_READERS: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    "target": (load_table(TARGET), lambda path: find_target(str(path))),
    "recipe": (load_table(RECIPE), read_recipe),
    "dataset": ({"root": ".", "ignore_index": 255}, lambda path: read_toml(Description, path)),
}


@pytest.mark.parametrize("schema", [1, 2])
def test_a_manifest(schema: int, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    if schema == 1:
        shutil.copytree(STORED / "artifact-schema-1", folder)
    else:
        tiny.make_artifact(folder, file_format="onnx")
    table, path, read = load_table(folder / "manifest.json"), tmp_path / "m.json", read_manifest(folder)

    @EXAMPLES
    @given(broken(table))
    def fuzz(value: Any) -> None:
        path.write_bytes(seal(value))
        held(lambda: read(path))

    fuzz()


@pytest.mark.parametrize("name", JSON_READERS)
def test_json(name: str, tmp_path: Path) -> None:
    make, read = JSON_READERS[name]
    table, path = make(), tmp_path / "a.json"

    @EXAMPLES
    @given(broken(table))
    def fuzz(value: Any) -> None:
        path.write_text(json.dumps(value))
        held(lambda: read(path))

    fuzz()


@pytest.mark.parametrize("name", TOML_READERS)
def test_toml(name: str, tmp_path: Path) -> None:
    table, read = TOML_READERS[name]
    path = tmp_path / "a.toml"

    @EXAMPLES
    @given(broken(table))
    def fuzz(value: Any) -> None:
        lines = (f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        held(lambda: read(path))

    fuzz()


@pytest.mark.parametrize("name", [*JSON_READERS, *TOML_READERS])
def test_bytes(name: str, tmp_path: Path) -> None:
    if name in JSON_READERS:
        make, read = JSON_READERS[name]
        valid, path = json.dumps(make()).encode()[:3000], tmp_path / "a.json"
    else:
        valid, path, read = TARGET.read_bytes(), tmp_path / "a.toml", TOML_READERS[name][1]

    @EXAMPLES
    @given(st.one_of(st.binary(max_size=60), st.tuples(st.integers(0, len(valid)), st.binary(max_size=8))))
    def fuzz(change: bytes | tuple[int, bytes]) -> None:
        at = change if isinstance(change, tuple) else None
        path.write_bytes(valid[: at[0]] + at[1] + valid[at[0] + 1 :] if at else bytes(change))  # type: ignore[arg-type]
        held(lambda: read(path))

    fuzz()
