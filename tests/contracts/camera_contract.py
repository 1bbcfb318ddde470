"""What every camera must do."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeseg.core.protocols import Camera
from edgeseg.errors import CameraError
from edgeseg.runtime import open_camera

if TYPE_CHECKING:
    from pathlib import Path


class CameraContract:
    """Subclass with a source that gives at least `least` frames; `uri` may use a file that it makes in `folder`."""

    least = 3
    size = (96, 128)
    resizes = True

    def uri(self, folder: Path) -> str:
        raise AssertionError("a subclass names its source")

    @pytest.fixture
    def source(self, tmp_path: Path) -> str:
        return self.uri(tmp_path)

    def test_frames_are_numbered_images_in_the_order_of_their_times(self, source: str) -> None:
        with open_camera(source, size=self.size) as camera:
            assert isinstance(camera, Camera)
            frames = list(islice(camera.frames(), self.least))
        assert len(frames) == self.least
        for frame in frames:
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (*self.size, 3)
            assert frame.labels is None or frame.labels.shape == self.size
        assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
        assert [frame.captured_s for frame in frames] == sorted(frame.captured_s for frame in frames)

    def test_knows_its_rate(self, source: str) -> None:
        with open_camera(source, size=self.size) as camera:
            assert 0 < camera.fps < 1000

    def test_a_source_that_is_not_live_skips_nothing(self, source: str) -> None:
        with open_camera(source, size=self.size) as camera:
            frames = list(islice(camera.frames(), self.least))
            if not camera.live:
                assert camera.skipped == 0
                assert [frame.index for frame in frames] == list(range(self.least))

    def test_leaves_no_thread_behind(self, source: str) -> None:
        with open_camera(source, size=self.size) as camera:
            next(camera.frames())
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeseg")]

    def test_is_not_read_before_it_is_entered(self, source: str) -> None:
        camera = open_camera(source, size=self.size)
        if camera.live:
            with pytest.raises(CameraError, match="with block"):
                next(iter(camera.frames()))
