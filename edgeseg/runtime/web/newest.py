"""The newest frame for any number of viewers: encoded once, on request, and the loop never waits for it."""

from __future__ import annotations

import json
import struct
import threading
import time
from typing import TYPE_CHECKING

from edgeseg.runtime.sinks.areas import areas_of
from edgeseg.runtime.web.paletted import paletted_png

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from edgeseg.runtime.sinks.base import View

WIDEST = 960
"""Larger images are scaled down: a phone shows no more, and the device has other work."""
JPEG_QUALITY = 80
GAP_S = 1 / 15
"""The least time between two encoded frames."""


class NewestFrame:
    """Holds the newest view, and its message for viewers.

    A message has three parts, each its length (4 bytes, big-endian) and its bytes: figures as JSON, the image as JPEG,
    the labels as paletted PNG.
    """

    def __init__(self, *, classes: tuple[str, ...], palette: tuple[tuple[int, int, int], ...]) -> None:
        self._classes = classes
        self._palette = palette
        self._changed = threading.Condition()
        self._view: View | None = None
        self._number = 0
        self._closed = False
        self._encoding = threading.Lock()
        self._message = b""
        self._encoded = 0
        self._encoded_s = 0.0

    def put(self, view: View) -> None:
        """Replace the newest view; returns at once."""
        with self._changed:
            self._view = view
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake every waiting viewer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def message(self, *, after: int, wait_s: float) -> tuple[int, bytes] | None:
        """Return the number and the message of a frame newer than `after`; None where none came in `wait_s` seconds."""
        if not self._wait(lambda: self._number > after, wait_s):
            return None
        with self._encoding:
            if self._encoded <= after:
                time.sleep(max(0.0, min(GAP_S, self._encoded_s + GAP_S - time.monotonic())))
                self._encode()
            return self._encoded, self._message

    def _wait(self, is_met: Callable[[], bool], wait_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or is_met(), wait_s)
            return is_met() and not self._closed

    def _encode(self) -> None:
        with self._changed:
            view, number = self._view, self._number
        assert view is not None, "nothing was put"
        figures = json.dumps(self._figures(view), ensure_ascii=False).encode()
        parts = (figures, _jpeg(view.frame), paletted_png(_smaller(view.labels, exact=True), palette=self._palette))
        self._message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        self._encoded, self._encoded_s = number, time.monotonic()

    def _figures(self, view: View) -> dict[str, object]:
        hud = view.hud
        return {
            "frame": view.index,
            "title": hud.title,
            "fps": round(hud.fps, 2),
            "age_ms": round(1000 * (time.monotonic() - view.captured_s), 1),
            "stages_ms": {
                name: [round(time_ms, 2) for time_ms in (times.p50_ms, times.p90_ms, times.p99_ms)]
                for name, times in hud.stages_ms.items()
            },
            "queues": hud.queues,
            "skipped": hud.skipped,
            "corrupt": hud.corrupt,
            "miou": hud.miou,
            "size": [view.frame.shape[1], view.frame.shape[0]],
            "areas": areas_of(view.labels, len(self._classes)),
        }


def _smaller(image: np.ndarray, *, exact: bool) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    if width <= WIDEST:
        return image
    size = (WIDEST, max(1, round(height * WIDEST / width)))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST if exact else cv2.INTER_AREA)


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    encoded = cv2.imencode(".jpg", _smaller(image, exact=False), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return bytes(encoded.tobytes())
