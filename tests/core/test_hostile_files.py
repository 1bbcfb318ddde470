"""Whatever a file holds, its reader returns a value or raises one of our errors with one printable line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from edgeseg.core.files import MOST_TOML_BYTES, read_json, read_toml, read_toml_table, write_json
from edgeseg.core.records import bounds, decode_record, renamed
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.core.suggestions import unknown
from edgeseg.errors import EdgesegError, InputError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Record:
    name: str = ""
    share: float = field(default=0.5, metadata={**renamed("fraction"), **bounds(low=0, high=1)})
    count: int = field(default=1, metadata=bounds(low=1))
    sizes: tuple[int, ...] = field(default=(1,), metadata=bounds(low=1, items=(1, 3)))
    scores: dict[str, float | None] = field(default_factory=dict, metadata=bounds(low=0, high=1))
    scale: float = field(default=1.0, metadata=bounds(above=0))

    REMOVED: ClassVar[dict[str, str]] = {"gone": "use count instead."}


JSON_FAULTS = {
    "deep lists": "[" * 100_000,
    "deep but closed": '{"sizes": ' + "[" * 300 + "]" * 300 + "}",
    "4300 digits": '{"count": ' + "9" * 4301 + "}",
    "400 digits": '{"count": 1' + "0" * 400 + "}",
    "65 bits": '{"count": 9223372036854775808}',
    "infinite": '{"share": 1e400}',
    "NaN": '{"share": NaN}',
    "lone surrogate": '{"name": "\\ud800"}',
    "surrogate key": '{"\\udfff": 1}',
    "NUL": '{"name": "a\\u0000b"}',
    "escape sequence": '{"name": "\\u001b[31mred"}',
    "escape in a key": '{"\\u001b]0;title\\u0007": 1}',
    "right to left": '{"name": "\\u202egnp.exe"}',
    "given twice": '{"count": 1, "count": 2}',
    "empty": "",
    "only a list": "[]",
    "cut": '{"name": "a',
}
TOML_FAULTS = {
    "deep lists": "a = " + "[" * 10_000,
    "deep tables": "a = " + "{a=" * 10_000,
    "dotted": ".".join(["a"] * 5_000) + " = 1",
    "4300 digits": "count = " + "9" * 4301,
    "hexadecimal": "count = 0x" + "f" * 5000,
    "infinite": "share = inf",
    "not a number": "share = nan",
    "impossible date": "name = 2026-13-41",
    "a date": "name = 2026-01-01",
    "NUL": 'name = "a\\u0000b"',
    "given twice": "count = 1\ncount = 2",
    "too large": "#" * (MOST_TOML_BYTES + 1),
}


def assert_one_printable_line(error: EdgesegError) -> None:
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 700


@pytest.mark.parametrize("text", JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_a_json_file_that_no_reader_should_take_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"a\.json") as caught:
        read_json(Record, path)
    assert_one_printable_line(caught.value)


@pytest.mark.parametrize("text", TOML_FAULTS.values(), ids=TOML_FAULTS)
def test_a_toml_file_that_no_reader_should_take_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"a\.toml") as caught:
        read_toml(Record, path)
    assert_one_printable_line(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"share": 5.0}, r"f\.share: 5\.0 is out of range; it must be 0 to 1\."),
        ({"fraction": -0.1}, r"f\.share: -0\.1 is out of range"),
        ({"count": 0}, r"f\.count: 0 is out of range; it must be 1 or more\."),
        ({"sizes": []}, r"f\.sizes: has 0 entries; it must have 1 to 3\."),
        ({"sizes": [4, -4]}, r"f\.sizes\[1\]: -4 is out of range"),
        ({"scores": {"sky": None, "car": 5.0}}, r"f\.scores\.car: 5\.0 is out of range"),
        ({"scale": 0}, r"f\.scale: 0\.0 is out of range; it must be more than 0\."),
        ({"gone": 1}, r'f: the key "gone" is no longer read: use count instead\.'),
    ],
)
def test_ranges_that_a_dataclass_declares_are_checked_where_it_is_read(data: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decode_record(Record, data, where="f")


def test_integers_beyond_floats_are_refused_and_not_a_crash() -> None:
    with pytest.raises(RecipeError, match="expected a number"):
        decode_record(Record, {"share": 10**400}, where="f")


@pytest.mark.parametrize("name", ["a\0b.toml", "a\ud800b\0.toml"])
def test_a_file_name_that_no_system_takes_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file can have this name") as caught:
        read_toml_table(tmp_path / name)
    assert_one_printable_line(caught.value)


def test_what_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not written"):
        write_json({"miou": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_an_error_shows_control_characters_instead_of_obeying_them() -> None:
    assert str(InputError("\x1b[2Jgone\x07")) == r"\x1b[2Jgone\x07"
    assert str(unknown("target", "tf\x1b[31mlite", ("tflite",))).isprintable()
    assert len(str(unknown("target", "x" * 1_000_000, ("tflite",)))) < 400


SPEC: dict[str, Any] = {
    "name": "n", "architecture": "a", "classes": ["sky", "road"], "palette": [[0, 0, 0], [1, 1, 1]],
    "ignore_index": 255,
    "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32", "layout": "NCHW", "role": "image"}],
    "outputs": [{"name": "y", "shape": [1, 2, 1, 1], "dtype": "float32", "layout": "NCHW", "role": "logits"}],
    "preprocess": {}, "output_stride": 8, "weights_sha256": "", "licence": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": []}, r"spec\.inputs: has 0 entries"),
        ({"outputs": []}, r"spec\.outputs: has 0 entries"),
        ({"output_stride": 0}, r"spec\.output_stride: 0 is out of range"),
        ({"palette": [[0, 0, 999], [1, 1, 1]]}, r"spec\.palette\[0\]\[2\]: 999 is out of range; it must be 0 to 255"),
        ({"palette": [[0, 0, 0]]}, "2 classes but 1 palette colours"),
        ({"classes": []}, r"spec\.classes: has 0 entries"),
        ({"ignore_index": -1}, r"spec\.ignore_index: -1 is out of range"),
        ({"preprocess": {"std": [1, 0, 1]}}, r"spec\.preprocess\.std\[1\]: 0\.0 is out of range"),
        ({"inputs": [{**SPEC["inputs"][0], "shape": [1, 3, 0, 8]}]}, r"inputs\[0\]\.shape\[2\]: 0 is out of range"),
        ({"inputs": [{**SPEC["inputs"][0], "shape": [1, 3]}]}, r"a tensor in NCHW has 4 sizes"),
    ],
)
def test_a_spec_with_impossible_numbers_is_refused(change: dict[str, object], message: str) -> None:
    assert decode_record(ModelSpec, SPEC, where="spec").inputs == (
        TensorSpec(name="x", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW", role="image"),
    )
    assert Preprocess().std[0] > 0
    with pytest.raises(RecipeError, match=message):
        decode_record(ModelSpec, {**SPEC, **change}, where="spec")


def test_ordinary_text_of_any_language_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Straße, 道路, дорога 🛣\nzweite Zeile"}), encoding="utf-8")
    assert read_json(Record, path).name.endswith("zweite Zeile")
