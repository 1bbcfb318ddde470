"""Devices are data: every file of ours holds, a typo is answered, a broken plug-in stops nobody."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from edgeseg import targets
from edgeseg.core import registry
from edgeseg.core.protocols import Engine
from edgeseg.deploy.plan import plan_artifacts
from edgeseg.errors import InputError, RecipeError, UnknownName
from edgeseg.targets import broken_targets, find_target, load_targets
from edgeseg.toolchains import find_left_out

if TYPE_CHECKING:
    from pathlib import Path

BOARD = """
schema = 1
name = "my-board"
title = "My board"
soc = "unknown"
arch = "aarch64"
memory_mb = 512
[[backends]]
format = "tflite"
engine = "litert"
schemes = ["int8"]
"""


def test_all_our_targets_hold() -> None:
    found = load_targets()
    assert len(found) >= 7
    assert broken_targets() == ()
    for target in found:
        assert target.verified, target.name
        assert all(backend.reason for backend in target.backends), target.name


def test_every_backend_names_a_format_and_an_engine_that_fit() -> None:
    compilers = {plugin.value.format for plugin in registry.load_all("compilers")}
    formats = {*registry.names("converters"), *compilers}
    engines = {plugin.name: plugin.value for plugin in registry.load_all("engines")}
    for target in load_targets():
        for backend in target.backends:
            engine = engines[backend.engine]
            assert backend.format in formats
            assert isinstance(engine, Engine)
            assert backend.format in engine.formats


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match='Did you mean "raspberry-pi-5"'):
        find_target("rasberry-pi-5")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(BOARD)
    assert find_target(str(path)).backends[0].schemes == ("int8",)
    path.write_text(BOARD.replace("memory_mb", "memory"))
    with pytest.raises(RecipeError, match=r'unknown key "memory".*memory_mb'):
        find_target(str(path))
    with pytest.raises(InputError, match="no such file"):
        find_target(str(tmp_path / "none.toml"))


def test_third_parties_add_devices_and_broken_ones_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_boards"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my-board.toml").write_text(BOARD)
    (package / "iphone.toml").write_text(BOARD.replace("my-board", "iphone"))
    (package / "other.toml").write_text(BOARD)
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name=name, value=value, group=targets.GROUP)
        for name, value in (("theirs", "their_boards"), ("gone", "no_such_package_here"), ("ours", "edgeseg.targets"))
    ]
    monkeypatch.setattr(targets, "entry_points", lambda group: points)
    assert find_target("my-board").memory_mb == 512
    assert find_target("iphone").title != "My board"
    assert {broken.name for broken in broken_targets()} == {"gone", "iphone", "other"}
    with pytest.raises(RecipeError, match="must equal the file"):
        find_target("other")
    sys.modules.pop("their_boards", None)


@pytest.mark.parametrize(
    ("target", "tool"),
    [("rk3566", "rknn-toolkit2"), ("rk3588", "rknn-toolkit2"), ("pi-ai-camera", "imx500-converter")],
)
def test_a_target_whose_tool_is_left_out_says_so(target: str, tool: str) -> None:
    (item,) = plan_artifacts((target,), precision="fp32", has_ranges=False, model="net", out=None)
    assert item.remark == f"{target}: this file runs on its CPU. {find_left_out(tool).line}"
    assert "\n" not in item.remark
    (other,) = plan_artifacts(("raspberry-pi-5",), precision="fp32", has_ranges=False, model="net", out=None)
    assert other.remark == ""


def test_a_left_out_tool_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(BOARD + 'left_out = "rknn-toolkit"\n')
    with pytest.raises(RecipeError, match='Did you mean "rknn-toolkit2"'):
        find_target(str(path))
