"""Strict decoding: what is misspelt or of another type is named with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from edgeseg.core.records import current_key, decode_record, encode_record, known_keys, renamed
from edgeseg.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Inner:
    mode: Literal["fast", "exact"] = "fast"
    size: tuple[int, int] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    rate: float = 0.5
    inner: Inner = field(default_factory=Inner)
    tags: tuple[str, ...] = ()
    scores: dict[str, float | None] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is 0 or more.")


def test_round_trip() -> None:
    value = Outer(name="a", inner=Inner(mode="exact", size=(3, 4)), tags=("x",), scores={"sky": None, "car": 0.5})
    assert decode_record(Outer, encode_record(value), where="file") == value


def test_whole_numbers_pass_for_real_ones_but_not_the_reverse() -> None:
    assert decode_record(Outer, {"name": "a", "rate": 1}, where="f").rate == 1.0
    with pytest.raises(RecipeError, match=r"f\.inner\.size\[0\]: expected an integer; got 1.5"):
        decode_record(Outer, {"name": "a", "inner": {"size": [1.5, 2]}}, where="f")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "a", "raet": 1.0}, r'f: unknown key "raet". Did you mean "rate"\?'),
        ({}, 'f: the key "name" is missing'),
        ({"name": 3}, r"f\.name: expected a string; got 3"),
        ({"name": "a", "limit": True}, r"f\.limit: expected an integer; got True"),
        (
            {"name": "a", "inner": {"mode": "exat"}},
            r'f\.inner\.mode: expected one of fast, exact.*Did you mean "exact"',
        ),
        ({"name": "a", "inner": {"size": [1]}}, r"f\.inner\.size: expected a list of 2"),
        ({"name": "a", "inner": []}, r"f\.inner: expected a table"),
        ({"name": "a", "tags": "x"}, r"f\.tags: expected a list"),
        ({"name": "a", "rate": -1.0}, r"f: rate is 0 or more"),
    ],
)
def test_faults_are_named_with_their_place(data: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        decode_record(Outer, data, where="f")


@dataclass(frozen=True, kw_only=True)
class Renamed:
    share: float = field(default=0.0, metadata=renamed("image", "picture"))
    inner: Outer | None = field(default=None, metadata=renamed("outer"))
    flag: bool = False


@pytest.mark.parametrize("name", ["share", "image", "picture"])
def test_a_renamed_field_is_read_under_every_former_name(name: str) -> None:
    assert decode_record(Renamed, {name: 0.5}, where="r").share == 0.5
    assert name in known_keys(Renamed)


def test_two_names_of_one_field_are_refused() -> None:
    for given in ({"image": 0.5, "share": 0.5}, {"image": 0.5, "picture": 0.5}):
        with pytest.raises(RecipeError, match='are names of one setting; give only "share"'):
            decode_record(Renamed, given, where="r")


@pytest.mark.parametrize(
    ("stored", "today"),
    [
        ("picture", "share"),
        ("flag", "flag"),
        ("outer.inner.mode", "inner.inner.mode"),
        ("outer.nonsense", "inner.nonsense"),
        ("teacher a.b", "teacher a.b"),
    ],
)
def test_a_stored_key_has_its_name_of_today(stored: str, today: str) -> None:
    assert current_key(Renamed, stored) == today
