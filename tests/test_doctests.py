"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
import os
from importlib import import_module
from pathlib import Path

import pytest

import edgeseg

LIGHT = ("bench", "calibration", "core", "data", "devices", "errors", "metrics", "pixels", "runtime", "targets")
"""Rooms that need neither torch nor a converter's libraries."""


def modules_with_examples() -> list[str]:
    found = set()
    for top in edgeseg.__path__:
        # A development install links its rooms.
        for folder, _, files in os.walk(top, followlinks=True):
            for path in (Path(folder) / name for name in files if name.endswith(".py")):
                if ">>> " in path.read_text(encoding="utf-8"):
                    found.add(".".join(("edgeseg", *path.relative_to(top).with_suffix("").parts)))
    return sorted(name.removesuffix(".__init__") for name in found)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_give_what_they_show(name: str) -> None:
    if name.split(".")[1] not in LIGHT:
        pytest.importorskip("torch")
    tests = [test for test in doctest.DocTestFinder().find(import_module(name)) if test.examples]
    assert tests, "an example stands where doctest does not look for it"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert [test.name for test in tests if runner.run(test).failed] == []


@pytest.mark.parametrize("room", ["core", "pixels", "metrics"])
def test_each_package_of_the_device_side_has_examples(room: str) -> None:
    assert any(name.startswith(f"edgeseg.{room}.") for name in modules_with_examples())
