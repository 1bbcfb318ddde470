"""How the loop ends when something outside breaks it: real processes, signals, limits and pipes."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest
from contracts import tiny_artifact as tiny
from contracts.mjpeg_server import MjpegServer

from edgeseg.runtime import LoopResult, load, open_camera, run

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 60.0
QUEUES = ("preprocess", "infer", "decode", "sink")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("faults") / "artifact").folder


def start(artifact: Path, *options: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "edgeseg.cli", "run", str(artifact), "--source", "synthetic:1", "--size", "48x64",
        "--threads", "1", *options,
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 - it only sets a limit, before any thread
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_every_file_and_gives_the_summary(artifact: Path, tmp_path: Path, number: int) -> None:
    video, areas = tmp_path / "o.mp4", tmp_path / "areas.jsonl"
    process = start(artifact, "--save", str(video), "--save-areas", str(areas), "--web", "127.0.0.1:0", "--json")
    wait_for(lambda: lines_in(areas) > 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    told = json.loads(out)
    assert process.returncode == 130, err
    assert told["interrupted"] is True
    assert "Traceback" not in err
    assert frames_in(video) == lines_in(areas) == told["frames"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["areas.jsonl", "o.mp4"]


@posix
@pytest.mark.parametrize("kind", ["--save", "--save-areas"])
def test_a_file_that_may_not_grow_ends_the_loop_with_a_whole_file(artifact: Path, tmp_path: Path, kind: str) -> None:
    limit_bytes = 800_000 if kind == "--save" else 20_000
    path = tmp_path / ("o.avi" if kind == "--save" else "areas.jsonl")

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    process = start(artifact, kind, str(path), "--size", "120x160", "--json", before=limit)
    out, err = process.communicate(timeout=WAIT_S)
    told = json.loads(out)
    assert process.returncode == 1
    assert path.name in told["fault"]
    assert path.name in err
    assert "Traceback" not in err
    if kind == "--save":
        assert frames_in(path) == told["frames"] > 20
    else:
        assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == list(range(told["frames"]))


@posix
def test_a_full_disk_ends_the_loop_with_a_playable_video(artifact: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=17m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        process = start(artifact, "--save", str(disk / "o.mp4"), "--size", "240x320", "--json")
        wait_for(lambda: any(disk.iterdir()))
        (disk / "others").write_bytes(bytes(1 << 20))
        out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert "disk is full" in err
        assert frames_in(disk / "o.mp4") == json.loads(out)["frames"]
    finally:
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@posix
def test_a_reader_that_goes_ends_the_loop_quietly(artifact: Path, tmp_path: Path) -> None:
    video = tmp_path / "o.mp4"
    process = start(artifact, "--save-areas", "-", "--save", str(video))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=WAIT_S) == 0, err
    assert "frames at" in err
    assert "Traceback" not in err
    assert frames_in(video) > 0


def test_the_watchdog_names_the_stage_that_is_stuck_and_that_it_goes_on(artifact: Path) -> None:
    told: list[str] = []
    with load(artifact, threads=1) as session, open_camera("synthetic:1", size=(48, 64)) as camera:

        def hang(done: int, _labels: object) -> None:
            if done == 2:
                wait_for(lambda: any('The stage "sink" (LabelCallback) is stuck at frame 2' in text for text in told))

        result = run(session, camera, frames=5, stuck_s=0.5, on_labels=hang, on_notice=told.append)
    assert result.frames == 5
    # On a busy machine another stage may have been slow as well.
    stalls = {stall.stage: stall for stall in result.stalls}
    assert stalls["sink"].frame == 2
    assert stalls["sink"].seconds >= 0.5


def test_every_live_frame_is_accounted_for_and_queues_stay_short(artifact: Path) -> None:
    with load(artifact, threads=1) as session, open_camera("synthetic:1?live=1", size=(48, 64), fps=200) as camera:
        seen: list[int] = []

        def dawdle(index: int, _labels: object) -> None:
            before = camera.skipped
            wait_for(lambda: camera.skipped > before)
            seen.append(index)

        result = run(session, camera, frames=5, on_labels=dawdle)
        counts = camera.counts
    assert seen == sorted(set(seen))
    assert counts.captured == counts.delivered + counts.skipped + counts.corrupt + counts.waiting
    assert result.skipped > 0
    assert {name: state.room for name, state in result.queues.items()} == dict.fromkeys(QUEUES, 1)
    assert result.age_p50_ms <= result.age_p90_ms <= result.age_p99_ms


def test_the_result_is_told_also_where_a_stage_fails(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[LoopResult] = []
    with load(artifact, threads=1) as session, open_camera("synthetic:1", size=(48, 64)) as camera:
        preprocess = session.preprocess

        def broken(image: object) -> object:
            if len(session_calls) == 4:
                raise ValueError("a wrong image")
            session_calls.append(image)
            return preprocess(image)  # type: ignore[arg-type]

        session_calls: list[object] = []
        monkeypatch.setattr(session, "preprocess", broken)
        with pytest.raises(Exception, match=r'stage "preprocess" failed: ValueError: a wrong image'):
            run(session, camera, on_end=ends.append)
    assert ends[0].fault is not None
    assert "a wrong image" in ends[0].fault
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeseg")]


def test_no_thread_is_left_by_a_web_page_a_live_source_and_a_signal() -> None:
    script = """
        import os, signal, sys, threading, tempfile
        from pathlib import Path
        sys.path.insert(0, {tests!r})
        from contracts import tiny_artifact as tiny
        from edgeseg.runtime import load, open_camera, run
        from edgeseg.runtime.web import WebAddress, WebSink
        with tempfile.TemporaryDirectory() as folder:
            with load(tiny.make_artifact(Path(folder) / "a").folder, threads=1) as session:
                with open_camera("synthetic:1?live=1", size=(48, 64)) as camera:
                    web = WebSink(session.artifact.manifest.spec, address=WebAddress(port=0))
                    result = run(session, camera, sinks=(web,),
                        on_labels=lambda i, _: os.kill(os.getpid(), signal.SIGINT) if i > 3 else None)
        assert result.interrupted and result.frames > 0
        print([thread.name for thread in threading.enumerate()])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script.replace("{tests!r}", repr(tests)))],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['MainThread']"


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc's heap")
def test_an_image_takes_the_memory_of_the_one_before_it() -> None:
    script = """
        import resource
        import numpy as np
        from edgeseg.runtime.process_settings import share_one_heap

        def faults(images):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(images):
                np.full((1080, 1920, 3), 1, np.uint8)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        share_one_heap()
        faults(2)
        print(faults(20))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert int(done.stdout) < 500, "one image has 1500 pages"


def test_a_lost_source_is_told_and_waiting_for_it_is_no_stall(artifact: Path) -> None:
    told: list[str] = []
    with (
        MjpegServer(fps=30) as server,
        load(artifact, threads=1) as session,
        open_camera(server.uri(), reconnect_s=60) as camera,
    ):

        def pull_the_plug(_index: int, _labels: object) -> bool:
            if not told:
                server.kill()
                threading.Timer(1.5, server.start).start()
                told.append("pulled")
            return not any("is back" in line for line in told)  # a stall elsewhere may be told behind it

        result = run(session, camera, stuck_s=0.5, on_labels=pull_the_plug, on_notice=told.append)
    assert any("Reconnecting" in line for line in told)
    assert any("is back" in line for line in told)
    assert not any(stall.stage == "capture" for stall in result.stalls)
    assert result.reconnects == 1
    assert result.trouble == ""
    assert result.captured == result.delivered + result.skipped + result.corrupt
