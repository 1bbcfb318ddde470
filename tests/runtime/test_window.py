"""The window on a real display, closed as a person closes it.

It needs Xvfb, python-xlib, and an OpenCV that is not the headless build: the installed one, or one in the folder that
EDGESEG_TEST_GUI names (`pip install --no-deps --target FOLDER opencv-python`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, TypeVar

import cv2
import pytest
from contracts import tiny_artifact as tiny
from contracts import xvfb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

xdisplay = pytest.importorskip("Xlib.display", reason="python-xlib is not installed")

WAIT_S = 60.0
OPENS = "from edgeseg.runtime import WindowSink; WindowSink().__enter__()"
T = TypeVar("T")


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with xvfb.display((480, 640)) as name:
        found = {**os.environ, "DISPLAY": name, "QT_QPA_PLATFORM": "xcb"}
        if "EDGESEG_TEST_GUI" in os.environ:
            found["PYTHONPATH"] = os.environ["EDGESEG_TEST_GUI"]
        look = subprocess.run([sys.executable, "-c", OPENS], env=found, capture_output=True, text=True, check=False)
        if look.returncode != 0:
            reason = look.stderr.strip().rpartition("\n")[2] or f"status {look.returncode}"
            pytest.skip(f"No window opens here; EDGESEG_TEST_GUI may name a folder with opencv-python. {reason}")
        yield found


@pytest.mark.parametrize("end", ["close button", "q", "ctrl-c"])
def test_a_window_that_is_closed_ends_the_loop_with_a_finished_file(
    environment: dict[str, str], tmp_path: Path, end: str
) -> None:
    video, areas = tmp_path / "o.mp4", tmp_path / "areas.jsonl"
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeseg.cli", "run", str(artifact), "--source", "synthetic:1", "--size", "48x64",
         "--threads", "1", "--window", "--save", str(video), "--save-areas", str(areas), "--json"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    screen = xdisplay.Display(environment["DISPLAY"])
    try:
        window = wait_for(lambda: window_called("edgeseg: tiny-tflite", screen.screen().root))
        wait_for(lambda: areas.read_bytes().count(b"\n") > 5 or None)
        if end == "ctrl-c":
            process.send_signal(2)
        else:
            close(screen, window) if end == "close button" else press_q(screen, window)
        out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        screen.close()
    assert "Traceback" not in err
    assert process.returncode == (130 if end == "ctrl-c" else 0), err
    told = json.loads(out)
    assert told["interrupted"] is (end == "ctrl-c")
    assert told["frames"] == frames_in(video) > 0
    assert "Qt" not in err, "what the window's library says is not for a person to read"


def window_called(name: str, root: object) -> object | None:
    """Return the window of that name that is shown, at any depth, or None."""
    for child in root.query_tree().children:  # type: ignore[attr-defined]
        if child.get_wm_name() == name and child.get_attributes().map_state == 2:
            return child
        if (found := window_called(name, child)) is not None:
            return found
    return None


def close(screen: object, window: object) -> None:
    """Send what a window manager sends when its close button is pressed (ICCCM 4.2.8.1)."""
    from Xlib.protocol.event import ClientMessage

    protocols, delete = (screen.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))  # type: ignore[attr-defined]
    assert delete in window.get_wm_protocols()  # type: ignore[attr-defined]
    window.send_event(ClientMessage(window=window, client_type=protocols, data=(32, [delete, 0, 0, 0, 0])))  # type: ignore[attr-defined]
    screen.sync()  # type: ignore[attr-defined]


def press_q(screen: object, window: object) -> None:
    """Press the key Q in the window, as the keyboard does (XTEST)."""
    from Xlib import XK, X
    from Xlib.ext.xtest import fake_input

    window.set_input_focus(X.RevertToParent, X.CurrentTime)  # type: ignore[attr-defined]
    key = screen.keysym_to_keycode(XK.XK_q)  # type: ignore[attr-defined]
    for event in (X.KeyPress, X.KeyRelease):
        fake_input(screen, event, key)
        screen.sync()  # type: ignore[attr-defined]


def wait_for(look: Callable[[], T | None]) -> T:
    deadline_s = time.monotonic() + WAIT_S
    while (found := look()) is None:
        assert time.monotonic() < deadline_s, "nothing came"
        time.sleep(0.05)
    return found


def frames_in(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
