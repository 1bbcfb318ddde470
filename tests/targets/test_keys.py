"""Every key of every shipped target is read: a wrong value is refused, or shows in the plan or in `edgeseg targets`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from edgeseg import targets
from edgeseg.cli.main import main
from edgeseg.core.files import read_toml_table
from edgeseg.core.target import Backend, Target
from edgeseg.deploy.plan import PlannedArtifact, plan_artifacts
from edgeseg.errors import EdgesegError
from edgeseg.targets import find_target

SHIPPED = sorted(path for folder in targets.__path__ for path in Path(folder).glob("*.toml"))
WRONG: dict[str, object] = {
    "schema": 2,
    "arch": "aarch65",
    "memory_mb": 0,
    "cameras": ["v4l3"],
    "backends": [],
    "format": "tflight",
    "engine": "litter",
    "delegate": "nonsense-npu",
    "schemes": ["int9"],
    "threads": 0,
    "options": {"no_such_option": "1"},
    "channel_multiple": 0,
    "normalisation": "phone",
    "chip": "ethos-u56",
    "chip_memory_kib": -1,
    "left_out": "rknn-toolkit",
    "compile_options": {"no_such_option": "1"},
    "quantization": {"float_ops": ["cnv2d"]},
}
SHOWN = ("name", "title", "soc", "verified", "reason")
"""Free text for people: `edgeseg targets NAME` prints it, and the plan repeats a backend's reason."""


def write(table: dict[str, Any], path: Path) -> Path:
    """Write a target's table as TOML."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if key != "backends"]
    for backend in table["backends"]:
        lines += ["[[backends]]", *(f"{key} = {_value(value)}" for key, value in backend.items())]
    if not table["backends"]:
        lines.append("backends = []")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def cases() -> list[tuple[Path, str, int | None]]:
    found: list[tuple[Path, str, int | None]] = []
    for path in SHIPPED:
        table = read_toml_table(path)
        found += [(path, key, None) for key in table if key not in SHOWN]
        backends = table["backends"]
        assert isinstance(backends, list)
        # The first backend is tried with every key of the schema, the others with their own.
        own = [{item.name for item in dataclasses.fields(Backend)}, *backends[1:]]
        found += [(path, key, at) for at, keys in enumerate(own) for key in sorted(keys)]
    return [case for case in found if case[1] not in SHOWN]


@pytest.mark.parametrize(("path", "key", "at"), cases(), ids=lambda value: getattr(value, "stem", str(value)))
def test_a_wrong_value_of_any_key_is_refused(path: Path, key: str, at: int | None, tmp_path: Path) -> None:
    table: dict[str, Any] = read_toml_table(path)
    (table if at is None else table["backends"][at])[key] = WRONG[key]
    with pytest.raises(EdgesegError) as caught:
        find_target(str(write(table, tmp_path / path.name)))
    assert path.name in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("engine", "litterr", "litert"),
        ("format", "tflit", "tflite"),
        ("delegate", "xnnpak", "xnnpack"),
        ("schemes", ["int80"], "int8"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(key: str, value: object, nearest: str, tmp_path: Path) -> None:
    table: dict[str, Any] = read_toml_table(next(path for path in SHIPPED if path.stem == "raspberry-pi-5"))
    table["backends"][0][key] = value
    with pytest.raises(EdgesegError, match=re.escape(nearest)):
        find_target(str(write(table, tmp_path / "board.toml")))


def test_every_field_of_the_schema_is_tried() -> None:
    """A key that is added to the schema must come here too: with a value that is refused, or as text that is shown."""
    fields = {item.name for kind in (Target, Backend) for item in dataclasses.fields(kind)}
    assert fields == {*WRONG, *SHOWN}
    assert {key for _, key, _ in cases()} == set(WRONG)


def test_text_for_people_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table: dict[str, Any] = read_toml_table(next(path for path in SHIPPED if path.stem == "raspberry-pi-5"))
    words = {key: f"word-{key}" for key in SHOWN}
    table |= {key: word for key, word in words.items() if key in table}
    table["backends"][0]["reason"] = words["reason"]
    assert main(["targets", str(write(table, tmp_path / "word-name.toml"))]) == 0
    shown = capsys.readouterr().out
    assert [word for word in words.values() if word not in shown] == []


def planned(tmp_path: Path, **changes: object) -> PlannedArtifact:
    table: dict[str, Any] = read_toml_table(next(path for path in SHIPPED if path.stem == "raspberry-pi-5"))
    table["backends"] = [{**table["backends"][0], **changes}]
    path = write(table, tmp_path / "raspberry-pi-5.toml")
    return plan_artifacts((str(path),), precision="auto", has_ranges=True, model="m", out=None)[0]


def test_threads_delegate_options_and_reason_of_a_file_of_ones_own_reach_the_plan(tmp_path: Path) -> None:
    found = planned(tmp_path, threads=1, delegate="builtin", reason="because")
    assert (found.backend.threads, found.backend.delegate, found.reason) == (1, "builtin", "because")
    found = planned(
        tmp_path, format="onnx", engine="onnxruntime", schemes=["int8"], options={"graph_optimization": "basic"}
    )
    assert found.backend.options == {"graph_optimization": "basic"}


def test_quantization_rules_of_a_file_of_ones_own_reach_the_plan(tmp_path: Path) -> None:
    rules = planned(tmp_path).rules
    changed = planned(tmp_path, quantization={"forced_points": ["mul"], "per_channel_weights": False}).rules
    assert changed == dataclasses.replace(rules, forced_points=("mul",), per_channel_weights=False)


@pytest.mark.parametrize(
    ("table", "message"),
    [({"float_op": ["add"]}, "float_ops"), ({"float_ops": ["conv2"]}, "conv2d"), ({"forced_points": "add"}, "list")],
)
def test_a_quantization_rule_that_nothing_reads_is_refused(
    table: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgesegError, match=message):
        planned(tmp_path, quantization=table)


def test_an_engine_that_does_not_run_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgesegError, match='onnxruntime does not run the format "tflite"; it runs onnx'):
        planned(tmp_path, engine="onnxruntime")


def test_a_key_that_was_removed_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EdgesegError, match=r'"unsupported_ops" is no longer read: delete it'):
        planned(tmp_path, unsupported_ops=["HARD_SWISH"])
