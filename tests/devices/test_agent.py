"""The agent's environments on a device that two desks use at once, without an ssh server."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("the agent runs on Linux alone", allow_module_level=True)

import fcntl

from edgeseg.devices import agent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ~/.edgeseg of a device with the environment "one" in use."""
    monkeypatch.setattr(agent, "HOME", tmp_path)
    (tmp_path / "envs" / "one" / "bin").mkdir(parents=True)
    (tmp_path / "env").symlink_to(tmp_path / "envs" / "one")
    return tmp_path


def environments(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "envs").iterdir())


def test_an_installation_leaves_the_environment_in_which_another_desks_program_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, handles = agent.hold, []

    def noted(folder: Path, how: int) -> int:
        handles.append(hold(folder, how))
        return handles[-1]

    monkeypatch.setattr(agent, "hold", noted)
    assert agent.python_in_use() == home / "envs" / "one" / "bin" / "python"
    for name in ("two", "three"):
        (home / "envs" / name).mkdir()
        agent.switch(home / "envs" / name)
        assert (home / "env").resolve().name == name
        assert environments(home) == sorted(["one", name])
    os.close(handles[0])
    agent.switch(home / "envs" / "three")
    assert environments(home) == ["three"]


def test_two_installations_do_not_switch_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that switched after the other was renamed, but before it was in use, would delete it as a former one."""
    (home / "wheels" / "two").mkdir(parents=True)
    (home / "wheels" / "two" / "pip-1-py3-none-any.whl").touch()
    monkeypatch.setattr(agent, "call", lambda _command: None)
    other = agent.hold(home / "envs", fcntl.LOCK_EX)
    installing = threading.Thread(target=agent.install, args=("wheels/two", "edgeseg"))
    installing.start()
    time.sleep(0.3)
    assert (home / "env").resolve().name == "one"
    assert [name for name in environments(home) if not name.endswith(agent.UNFINISHED)] == ["one"]
    os.close(other)
    installing.join(20)
    assert (home / "env").resolve().name.startswith("two-")
    assert len(environments(home)) == 1
