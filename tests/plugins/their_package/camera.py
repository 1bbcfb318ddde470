"""A camera: `npy:clip.npy`, frames that a program of one's own recorded with numpy, (N, H, W, 3) uint8 BGR."""

import time
from pathlib import Path

import cv2
import numpy as np

from edgeseg.core.protocols import CameraCounts, Frame
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras import SourceStatus


class NpySource:
    schemes = ("npy",)

    def camera(self, request) -> "NpyCamera":
        """Return the camera, not yet opened; raises `InputError` where there is no such file."""
        request, _ = request.options()
        path = Path(request.rest)
        if not path.is_file():
            raise InputError(f"{request.shown}: no such file. Write it as npy:clip.npy.")
        return NpyCamera(path, size=request.size, fps=request.fps or 25.0)

    def status(self) -> SourceStatus:
        """Return that it always works."""
        return SourceStatus(uris=("npy:FILE",), works=True, detail="frames in a numpy file")


class NpyCamera:
    live = False
    trouble = ""
    skipped = 0

    def __init__(self, path: Path, *, size: tuple[int, int] | None, fps: float) -> None:
        self.fps = fps
        self._path, self._size = path, size
        self._clip, self._given, self._stopped = None, 0, False

    @property
    def counts(self) -> CameraCounts:
        return CameraCounts(captured=self._given, delivered=self._given)

    def __enter__(self) -> "NpyCamera":
        try:
            clip = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CameraError(f"{self._path}: not a numpy file: {error}. Write it with numpy.save.") from None
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
            raise CameraError(f"{self._path}: holds {clip.shape} {clip.dtype}; frames are (N, H, W, 3) uint8.")
        self._clip = clip
        return self

    def frames(self):
        """Yield every frame, at the requested size."""
        if self._clip is None:
            raise CameraError(f"{self._path}: is not open. Use it in a with block.")
        for index, stored in enumerate(self._clip):
            if self._stopped:
                return
            image = np.ascontiguousarray(stored)
            if self._size is not None:
                image = cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)
            self._given += 1
            yield Frame(index=index, image=image, captured_s=time.monotonic(), media_s=index / self.fps)

    def stop(self) -> None:
        self._stopped = True

    def __exit__(self, kind, error, trace) -> None:
        self._clip = None


CAMERA = NpySource()
