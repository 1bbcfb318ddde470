"""`import edgeseg`: light, and with every verb that the architecture draws as an arrow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeseg

TOP = Path(__file__).resolve().parents[1]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import edgeseg; print({n.split('.')[0] for n in sys.modules} & {'numpy', 'cv2', 'torch', 'rich'})"
    )
    assert run_python(code) == "set()"


def test_the_names_are_sorted_and_all_there() -> None:
    assert edgeseg.__all__ == sorted(edgeseg.__all__)
    for name in edgeseg.__all__:
        assert getattr(edgeseg, name) is not None
    assert set(edgeseg.__all__) <= set(dir(edgeseg))


def test_every_arrow_of_the_architecture_is_a_public_function() -> None:
    drawn = (TOP / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    arrows = set(re.findall(r"[─┬├└] ?([a-z]+)", drawn)) - {"compile", "export"}
    assert arrows >= {"convert", "load", "verify", "run", "validate", "bench", "compare"}
    for name in arrows | {"train", "calibrate", "compile_artifact"}:
        assert callable(getattr(edgeseg, name)), name
        assert name in edgeseg.__all__


@pytest.mark.parametrize("before", ["", "import edgeseg.bench, edgeseg.train; ", "from edgeseg.train import recipes; "])
def test_a_verb_that_is_also_a_package_is_both(before: str) -> None:
    code = (
        f"{before}from edgeseg import bench, train; import edgeseg, edgeseg.bench.gate as gate\n"
        "assert edgeseg.bench is bench and gate.check_gate\n"
        "assert edgeseg.train.Recipe and bench.bench_interleaved\n"
        "try: bench([edgeseg.__file__])\n"
        "except edgeseg.errors.EdgesegError as error: print('one line')"
    )
    assert run_python(code) == "one line"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'convrt'"):
        edgeseg.convrt  # type: ignore[attr-defined]  # noqa: B018
