"""A tool's log: private to its call, gone after a success, kept whole after a failure."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeseg.core.vendor_process import MOST_LOGS, run_program, run_tool, tool_logs
from edgeseg.errors import ConversionError

# Each waits until the other has printed, so that a shared file would hold the words of both.
TALKER = """
import json, pathlib, sys, time
folder, own, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print(json.dumps({"tool": own}), flush=True)
(folder / own).touch()
while not (folder / other).exists():
    time.sleep(0.01)
"""
FAILURE = "import sys; print('a banner'); print('no licence', file=sys.stderr); sys.exit(1)"


def log_in(error: ConversionError) -> Path:
    found = re.search(r"Its log: (.+)$", str(error))
    assert found is not None, error
    return Path(found[1])


def fail(folder: Path, *, name: str = "Arm Vela") -> ConversionError:
    with pytest.raises(ConversionError, match="failed with exit status 1") as caught:
        run_tool([sys.executable, "-c", FAILURE], {}, name=name, log_folder=folder)
    return caught.value


def test_two_tools_at_once_do_not_read_each_others_words(tmp_path: Path) -> None:
    def talk(names: tuple[str, str]) -> dict[str, object]:
        command = [sys.executable, "-c", TALKER, str(tmp_path), *names]
        return run_tool(command, {}, name=names[0], log_folder=tmp_path / "logs", time_limit_s=60)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(talk, (("one", "other"), ("other", "one"))))
    assert answers == [{"tool": "one"}, {"tool": "other"}]


def test_a_success_leaves_nothing(tmp_path: Path) -> None:
    run_tool([sys.executable, "-c", "print('{}')"], {}, name="Tool", log_folder=tmp_path / "logs")
    command = [sys.executable, "-c", "print('built')"]
    assert run_program(command, name="Tool", log_folder=tmp_path / "logs", time_limit_s=60) == "built\n"
    assert list(tmp_path.iterdir()) == []


def test_a_failures_log_is_kept_under_a_name_of_its_own_and_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tool.log").write_text("mine")
    first, second = log_in(fail(tmp_path)), log_in(fail(tmp_path))
    assert first != second
    for log in (first, second):
        assert log.parent == tmp_path
        assert re.fullmatch(r"arm-vela-\w+\.log", log.name)
        assert log.read_text() == "a banner\nno licence\n"
    assert (tmp_path / "tool.log").read_text() == "mine"
    with pytest.raises(ConversionError) as caught:
        run_program([sys.executable, "-c", FAILURE], name="trtexec", log_folder=tmp_path, time_limit_s=60)
    assert "no licence" in log_in(caught.value).read_text()


@pytest.mark.parametrize("said", ["done!", "[1]"])
def test_an_answer_that_is_no_json_object_is_in_the_log(said: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="answer") as caught:
        run_tool([sys.executable, "-c", f"print('{said}')"], {}, name="Tool", log_folder=tmp_path)
    assert log_in(caught.value).read_text() == f"{said}\n"


def test_where_the_folder_cannot_be_written_the_temporary_one_takes_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert log_in(fail(tmp_path / "file" / "logs")).parent == tmp_path / "temporary"


def test_the_logs_are_in_the_users_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_STATE_DIR", str(tmp_path / "state"))
    assert tool_logs() == tmp_path / "state" / "logs"


def test_only_the_newest_logs_are_kept_and_nothing_else_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_STATE_DIR", str(tmp_path))
    logs = tool_logs()
    logs.mkdir()
    for number in range(MOST_LOGS + 5):
        (logs / f"vela-{number:08d}.log").write_text("old")
        os.utime(logs / f"vela-{number:08d}.log", (number, number))
    (logs / "my notes.log").touch()
    new = log_in(fail(logs))
    left = {path.name for path in logs.iterdir()}
    assert left == {new.name, "my notes.log", *(f"vela-{number:08d}.log" for number in range(6, MOST_LOGS + 5))}
    elsewhere = tmp_path / "elsewhere"
    for number in range(MOST_LOGS + 5):
        elsewhere.mkdir(exist_ok=True)
        (elsewhere / f"vela-{number:08d}.log").touch()
    fail(elsewhere)
    assert len(list(elsewhere.iterdir())) == MOST_LOGS + 6
