"""The list of long tests names tests that exist: one that was renamed would be long without being listed."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LINES = [line for line in (TESTS / "long.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", LINES)
def test_every_line_names_a_folder_a_module_or_a_test(line: str) -> None:
    path, _, name = line.partition("::")
    where = TESTS.parent / path
    assert where.exists()
    if name:
        text = where.read_text(encoding="utf-8")
        assert f"def {name}(" in text or f"class {name}(" in text


def test_lines_are_sorted_and_unique() -> None:
    assert sorted(set(LINES)) == LINES
