"""Videos as people have them: the right images, their number and their times, or one clear line."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts.mjpeg_server import image_of, number_in

av = pytest.importorskip("av", reason="PyAV makes the videos of these tests")

from contracts.videos import break_packets, turn, write_video  # noqa: E402

from edgeseg.errors import CameraError  # noqa: E402
from edgeseg.runtime import open_camera  # noqa: E402
from edgeseg.runtime.cameras import decoded, media, opencv_reader  # noqa: E402
from edgeseg.runtime.cameras.decoded import Opening  # noqa: E402
from edgeseg.runtime.cameras.feed import CameraImage, Reconnect  # noqa: E402
from edgeseg.runtime.cameras.ffmpeg_feed import FfmpegReader  # noqa: E402
from edgeseg.runtime.cameras.live import LiveCamera  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.protocols import CameraCounts, Frame

FRAMES = 12


def read(path: Path | str) -> tuple[list[Frame], CameraCounts]:
    with open_camera(path) as camera:
        frames = list(camera.frames())
        return frames, camera.counts


def numbers(frames: list[Frame]) -> list[int | None]:
    return [number_in(frame.image) for frame in frames]


@pytest.fixture(params=["pyav", "opencv"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(media, "has_pyav", lambda: request.param == "pyav")
    return str(request.param)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("h264.mp4", {}),
        ("ten_bit.mp4", {"pixel_format": "yuv420p10le"}),
        ("chroma422.mp4", {"pixel_format": "yuv422p"}),
        ("odd.mp4", {"size": (241, 321), "pixel_format": "yuv444p"}),
        ("old.avi", {"codec": "mpeg4"}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("stream.ts", {}),
        ("matroska.mkv", {"codec_options": {"bf": "2"}}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
)
@pytest.mark.usefixtures("reader")
def test_every_frame_of_a_whole_video_is_read(tmp_path: Path, name: str, options: dict) -> None:
    frames, counts = read(write_video(tmp_path / name, frames=FRAMES, **options))
    assert numbers(frames) == list(range(FRAMES))
    assert frames[0].image.shape == (*options.get("size", (240, 320)), 3)
    assert (counts.corrupt, counts.missing, counts.concealed) == (0, 0, 0)


def test_interlaced_video_is_read_by_pyav_and_refused_by_an_opencv_that_makes_it_black(
    tmp_path: Path, reader: str
) -> None:
    path = write_video(tmp_path / "interlaced.mp4", codec_options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    if reader == "opencv" and opencv_reader.turns_interlaced_black():
        with pytest.raises(CameraError, match=r"interlaced.*edgeseg\[video\]"):
            read(path)
    else:
        assert numbers(read(path)[0]) == list(range(FRAMES))


@pytest.mark.usefixtures("reader")
def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.08, 0.5, 0.54, 1.2]
    frames, _ = read(write_video(tmp_path / "uneven.mp4", frames=6, times_s=times_s))
    assert [frame.media_s for frame in frames] == pytest.approx(times_s, abs=1e-3)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
@pytest.mark.usefixtures("reader")
def test_a_turned_video_is_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    frames, _ = read(turn(write_video(tmp_path / "turned.mp4"), degrees))
    expected = np.rot90(image_of(0), turns)
    assert frames[0].image.shape == expected.shape
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 5


@pytest.mark.usefixtures("reader")
def test_frames_after_a_corrupt_one_are_read_and_the_corrupt_ones_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.mp4", codec_options={"g": "1"})
    frames, counts = read(break_packets(path, (4, 7)))
    assert counts.corrupt == 2
    assert numbers(frames) == [number for number in range(FRAMES) if number not in (4, 7)]
    assert [frame.index for frame in frames] == numbers(frames)


@pytest.mark.usefixtures("reader")
def test_a_truncated_video_says_how_many_frames_are_missing(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "cut.mp4", frames=40, codec_options={"g": "1"}, container_options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, counts = read(path)
    assert counts.missing > 5
    assert len(frames) + counts.missing + counts.corrupt == 40
    assert numbers(frames)[:-1] == list(range(len(frames) - 1))


@pytest.mark.usefixtures("reader")
def test_a_header_that_asks_for_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "LARGEST_PIXELS", 1000)
    with pytest.raises(CameraError, match="240x320"):
        read(write_video(tmp_path / "giant.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(CameraError, match="holds no video"):
        read(tmp_path / "sound.wav")


@pytest.mark.usefixtures("reader")
def test_times_go_on_where_recordings_were_joined(tmp_path: Path) -> None:
    pieces = [write_video(tmp_path / f"{name}.ts", frames=5).read_bytes() for name in "ab"]
    (tmp_path / "joined.ts").write_bytes(b"".join(pieces))
    times_s = [frame.media_s for frame in read(tmp_path / "joined.ts")[0]]
    assert len(times_s) == 10
    assert times_s == pytest.approx([number / 25 for number in range(10)], abs=2e-3)


def test_in_a_transport_stream_a_jump_of_an_hour_is_a_joint_and_a_pause_is_none(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 5.0, 3605.0, 3605.04]
    path = write_video(tmp_path / "jump.ts", frames=5, times_s=times_s, codec_options={"tune": "zerolatency"})
    frames, counts = read(path)
    assert [frame.media_s for frame in frames] == pytest.approx([0.0, 0.04, 5.0, 5.04, 5.08], abs=2e-3)
    assert counts.missing == 0


def test_a_last_image_that_is_shown_for_long_is_the_end(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "slides.mkv", frames=4, times_s=[0.0, 0.04, 2.0, 2.04], lasts_s=5.0,
        codec_options={"tune": "zerolatency"},
    )  # fmt: skip
    frames, counts = read(path)
    assert len(frames) == 4
    assert counts.missing == 0


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the decoder is in this process")
def test_a_decoder_that_crashes_is_not_the_end_of_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", frames=200)
    reader = FfmpegReader(Opening(uri=str(path), shown="clip.mkv")).open()
    try:
        assert reader.read() is not None
        assert reader._child is not None
        reader._child._process.kill()
        with pytest.raises(CameraError, match="its reader ended"):
            all(reader.read() for _ in range(200))
    finally:
        reader.close()


def test_frames_that_a_live_decoder_repaired_are_counted_where_they_are_delivered() -> None:
    images = [CameraImage(image=image_of(number), captured_s=0.0, concealed=number != 1) for number in range(3)]

    class Repaired:
        fps = 10.0

        def __init__(self) -> None:
            self._left = iter(images)
            self.taken = threading.Semaphore(1)

        def open(self) -> None:
            return None

        def read(self) -> CameraImage:
            assert self.taken.acquire(timeout=5)
            found = next(self._left, None)
            if found is None:
                raise CameraError("ended")
            return found

        def interrupt(self) -> None:
            self.taken.release()

        def close(self) -> None:
            return None

    feed = Repaired()
    with LiveCamera(lambda: feed, name="test", reconnect=Reconnect(give_up_s=0)) as camera:
        with pytest.raises(CameraError, match="ended"):
            all(feed.taken.release() is None for _ in camera.frames())
        assert (camera.counts.delivered, camera.counts.concealed) == (3, 2)
