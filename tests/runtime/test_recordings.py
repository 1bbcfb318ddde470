"""Recordings: nothing is replaced unasked, times and sizes are kept, and no accident takes what was recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.mjpeg_server import image_of, number_in

from edgeseg.cli.main import main
from edgeseg.errors import InputError, MissingDependency, UnknownName
from edgeseg.runtime import LabelFolder, VideoSink, View, open_camera
from edgeseg.runtime.cameras import media
from edgeseg.runtime.frames.options import Reading
from edgeseg.runtime.sinks.hud import Hud
from edgeseg.verbs.run import Outputs, run_loop

if TYPE_CHECKING:
    from pathlib import Path

HUD = Hud(title="x", fps=1.0, stages_ms={})
SIZE = (64, 96)


def view(index: int, *, size: tuple[int, int] = SIZE, media_s: float | None = None) -> View:
    image = image_of(index, size)
    labels = np.zeros(size, np.uint8)
    return View(index=index, image=image, labels=labels, captured_s=float(index), frame=image, hud=HUD, media_s=media_s)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("recordings") / "artifact").folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number:06d}.png"), image_of(number, SIZE))
    return folder


def test_a_video_that_exists_is_replaced_by_force_only(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    path.write_bytes(b"somebody's")
    with pytest.raises(InputError, match="--force"), VideoSink(path, fps=10):
        pass
    assert path.read_bytes() == b"somebody's"
    with VideoSink(path, fps=10, force=True) as sink:
        sink.write(view(0))
    assert path.stat().st_size > 1000


def test_old_label_maps_are_never_mixed_with_new_ones(tmp_path: Path) -> None:
    for count in (3, 1):
        with LabelFolder(tmp_path / "out", force=count == 1) as sink:
            for index in range(count):
                sink.write(view(index))
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["000000.png"]
    with pytest.raises(InputError, match="earlier run"), LabelFolder(tmp_path / "out"):
        pass


def test_a_folder_of_somebody_elses_images_is_left_alone_even_by_force(images: Path) -> None:
    before = [path.read_bytes() for path in sorted(images.iterdir())]
    with pytest.raises(InputError, match="did not write"), LabelFolder(images, force=True):
        pass
    assert [path.read_bytes() for path in sorted(images.iterdir())] == before


@pytest.mark.parametrize("force", [False, True])
def test_no_output_is_an_input(artifact: Path, images: Path, tmp_path: Path, force: bool) -> None:
    clip = tmp_path / "clip.avi"
    with VideoSink(clip, fps=10) as sink:
        sink.write(view(0))
    linked = tmp_path / "link.avi"
    linked.symlink_to(clip)
    before = clip.read_bytes()
    for source, outputs in (
        (clip, Outputs(save=clip, force=force)),
        (clip, Outputs(save=linked, force=force)),
        (images, Outputs(labels=images, force=force)),
        (f"{images}/*.png", Outputs(labels=images, force=force)),
        (images, Outputs(areas=images / "000001.png", force=force)),
        ("synthetic", Outputs(areas=artifact / "manifest.json", force=force)),
    ):
        with pytest.raises(InputError, match="an input of this run"):
            run_loop(artifact, source=str(source), outputs=outputs, threads=1, frames=1)
    assert clip.read_bytes() == before


def test_two_outputs_of_one_name_are_refused(artifact: Path, tmp_path: Path) -> None:
    outputs = Outputs(save=tmp_path / "a.mp4", sinks=(f"video:{tmp_path}/./a.mp4",))
    with pytest.raises(InputError, match="given for two outputs"):
        run_loop(artifact, outputs=outputs, threads=1, frames=1)


@pytest.mark.parametrize(
    ("outputs", "kind", "words"),
    [
        (Outputs(sinks=("vidoe:x.mp4",)), UnknownName, 'Did you mean "video"'),
        (Outputs(sinks=("video:x.mpg",)), UnknownName, "kind of video"),
        (Outputs(sinks=("labels",)), InputError, "names no folder"),
        (Outputs(sinks=("web:nowhere:port",)), InputError, "HOST:PORT"),
        (Outputs(sinks=("window:large",)), InputError, "takes no argument"),
        (Outputs(window=True), MissingDependency, "No window"),
    ],
)
def test_sinks_are_checked_before_the_artifact_is_opened(
    tmp_path: Path, outputs: Outputs, kind: type, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(kind, match=words):
        run_loop(tmp_path / "no artifact", outputs=outputs)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading(region="1,2,3"), "roi"),
        (Reading(smooth="exp:2"), "exp"),
        (Reading(uncertainty="margins"), 'Did you mean "margin"'),
        (Reading(keep_fps=0.0), "--fps 0"),
        (Reading(keep_latency_ms=float("nan")), "--latency nan"),
    ],
)
def test_frame_options_are_checked_before_the_artifact_is_opened(tmp_path: Path, reading: Reading, words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_loop(tmp_path / "none", reading=reading)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_odd_sizes_and_uneven_times_are_kept(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av", reason="PyAV keeps them")
    times_s = [0.0, 0.1, 0.4, 0.5, 1.7]
    with VideoSink(tmp_path / name, fps=10) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(view(index, size=(65, 97), media_s=time_s))
    with open_camera(tmp_path / name) as camera:
        frames = list(camera.frames())
    assert [frame.media_s for frame in frames] == pytest.approx(times_s, abs=2e-3)
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].image.shape == (65, 97, 3)


def test_videos_are_h264_where_there_is_an_encoder(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV brings the encoder")
    with VideoSink(tmp_path / "out.mp4", fps=10) as sink:
        sink.write(view(0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_without_an_h264_encoder_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.runtime.sinks.video.has_pyav", lambda: False)
    monkeypatch.setattr("edgeseg.runtime.sinks.opencv_writer.CODECS", {".mp4": ("mp4v",)})
    said: list[str] = []
    with VideoSink(tmp_path / "out.mp4", fps=10, notify=said.append) as sink:
        sink.write(view(0))
    assert any("no H.264 encoder" in line and "edgeseg[video]" in line for line in said)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(8_000):
        writer.write(image_of(number, (48, 64)))
    writer.release()
    return path


def running(artifact: Path, clip: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "edgeseg.cli", "run", str(artifact), "--source", str(clip)]
    command += ["--save", str(out), "--threads", "1", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def partial_of(out: Path, *, frames_bytes: int) -> Path:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        found = list(out.parent.glob(f".{out.stem}.*.partial{out.suffix}"))
        if found and found[0].stat().st_size > frames_bytes:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was recorded")


def playable(path: Path) -> int:
    with open_camera(path) as camera:
        return sum(1 for _ in camera.frames())


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_finishes_the_recording(artifact: Path, long_clip: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "out.mp4"
    with running(artifact, long_clip, out) as process:
        partial_of(out, frames_bytes=8_000)
        process.send_signal(how)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert playable(out) > 5
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_killed_recording_plays_and_the_next_run_gives_it_a_name(
    artifact: Path, long_clip: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="PyAV writes fragments")
    out = tmp_path / "out.mp4"
    with running(artifact, long_clip, out) as process:
        partial_of(out, frames_bytes=8_000)
        process.kill()
        process.communicate(timeout=30)
    (tmp_path / ".out.999999999.partial.mp4").write_bytes(b"cut off before the first frame")
    with running(artifact, long_clip, out, "--frames", "3") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    (kept,) = tmp_path.glob("out.recovered-*.mp4")
    assert kept.name in said
    assert playable(kept) > 10
    assert playable(out) == 3
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.skipif(os.name != "posix", reason="on Windows no other process can be asked for")
def test_the_recording_of_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / f".out.{os.getppid()}.partial.avi"
    theirs.write_bytes(b"not playable yet")
    with VideoSink(tmp_path / "out.avi", fps=10) as sink:
        sink.write(view(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [theirs.name, "out.avi"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_signal_amid_the_thread_trial_ends_the_run(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgeseg.runtime.loop import thread_tuning

    monkeypatch.setattr(thread_tuning, "usable_cores", lambda: 2)
    loop = thread_tuning.run

    def interrupted(*arguments: object, **options: object) -> object:
        result = loop(*arguments, **options)  # type: ignore[arg-type]
        import dataclasses

        return dataclasses.replace(result, interrupted=True)

    monkeypatch.setattr(thread_tuning, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_loop(artifact, outputs=Outputs(save=tmp_path / "out.avi"), threads="auto", frames=2)


def test_where_the_disk_fills_up_what_was_recorded_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="PyAV says when a write fails")
    from edgeseg.runtime.sinks.pyav_writer import PyAvWriter

    write = PyAvWriter.write

    def full(writer: PyAvWriter, image: np.ndarray, time_s: float) -> None:
        if time_s > 2:
            raise OSError(28, "No space left on device")
        write(writer, image, time_s)

    monkeypatch.setattr(PyAvWriter, "write", full)
    out = tmp_path / "out.mp4"
    with pytest.raises(InputError, match=r"No space left.*kept"), VideoSink(out, fps=10) as sink:
        all(sink.write(view(index)) for index in range(30))
    assert playable(out) == 21


def test_the_reader_without_pyav_keeps_times_by_repeating_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.runtime.sinks.video.has_pyav", lambda: False)
    with VideoSink(tmp_path / "out.avi", fps=10) as sink:
        for index, time_s in enumerate((0.0, 0.1, 0.5, 0.6)):
            sink.write(view(index, media_s=time_s))
    monkeypatch.setattr(media, "has_pyav", lambda: False)
    with open_camera(tmp_path / "out.avi") as camera:
        assert [number_in(frame.image) for frame in camera.frames()] == [0, 1, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_recording_lacks_its_last_frame_at_most(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("av", reason="PyAV writes these")
    path = tmp_path / f"out{suffix}"
    code = (
        "import os, pathlib, sys, numpy as np\n"
        "from edgeseg.runtime.sinks.pyav_writer import PyAvWriter\n"
        "writer = PyAvWriter(pathlib.Path(sys.argv[1]), size=(96, 128), fps=30)\n"
        "for index in range(12):\n"
        "    writer.write(np.full((96, 128, 3), 20 * index, np.uint8), index / 30)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    import av

    with av.open(str(path)) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 11


def test_the_recording_of_a_killed_run_with_our_own_number_is_kept(tmp_path: Path) -> None:
    """In a container every run has the same process number."""
    out, said = tmp_path / "out.avi", []
    for turn in range(2):
        with VideoSink(tmp_path / "killed.avi", fps=10) as sink:
            all(sink.write(view(index)) for index in range(5 + turn))
        (tmp_path / "killed.avi").rename(tmp_path / f".out.{os.getpid()}.partial.avi")
        with VideoSink(out, fps=10, force=True, notify=said.append) as sink:
            sink.write(view(0))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["out.avi", f"out.recovered-{os.getpid()}-2.avi", f"out.recovered-{os.getpid()}.avi"]
    assert [playable(tmp_path / name) for name in kept] == [1, 6, 5]
    assert all(name in "".join(said) for name in kept[1:])


def test_a_file_that_somebody_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out, said = tmp_path / "out.avi", []
    with VideoSink(out, fps=10, notify=said.append) as sink:
        sink.write(view(0))
        out.write_bytes(b"another run's")
    assert out.read_bytes() == b"another run's"
    (kept,) = tmp_path.glob("out.recovered-*.avi")
    assert playable(kept) == 1
    assert kept.name in said[-1]


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in a name")
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoSink(f"12:30{suffix}", fps=10) as sink:
        sink.write(view(0))
    with open_camera(f"file:12:30{suffix}") as camera:
        assert sum(1 for _ in camera.frames()) == 1


def test_a_size_that_the_encoder_refuses_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="H.264 is PyAV's")
    words = r"8x17000 by libx264.*\.avi.*--size"
    with pytest.raises(InputError, match=words), VideoSink(tmp_path / "out.mp4", fps=10) as sink:
        sink.write(view(0, size=(8, 17000)))
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_reports_while_it_writes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av", reason="PyAV's own errors")

    def refused(*_arguments: object, **_options: object) -> None:
        raise av.error.ExternalError(542398533, "Generic error in an external library")

    out = tmp_path / "out.mp4"
    with VideoSink(out, fps=10) as sink:
        sink.write(view(0))
        with monkeypatch.context() as patched:
            patched.setattr(av.VideoFrame, "from_ndarray", refused)
            with pytest.raises(InputError, match=r"Generic error.*is kept"):
                sink.write(view(1))
    assert playable(out) == 1


def test_the_monitors_artifact_is_an_input_too(artifact: Path, tmp_path: Path) -> None:
    judge = tiny.make_artifact(tmp_path / "judge").folder
    before = (judge / "manifest.json").read_bytes()
    outputs = Outputs(areas=judge / "manifest.json", force=True)
    with pytest.raises(InputError, match="an input of this run"):
        run_loop(artifact, outputs=outputs, reading=Reading(monitor=judge), threads=1, frames=1)
    assert (judge / "manifest.json").read_bytes() == before


def test_lines_on_stdout_stay_alone_there(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(artifact), "--sink", "areas:-", "--frames", "2", "--threads", "1"]
    assert main(command) == 0
    out, said = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1]
    assert "2 frames" in said
    assert main([*command, "--json"]) == 2
