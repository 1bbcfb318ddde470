"""From an image to the tensor and from the engine's output to labels, with optional steps in between.

The region of interest, temporal smoothing and the uncertainty map live here, so that the loop stays simple. Labels are
decoded directly at the display's size; nothing is upscaled afterwards.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeseg.errors import InputError, UnsupportedError
from edgeseg.runtime.frames.uncertainty import UncertaintyKind, spread, uncertainty_of

if TYPE_CHECKING:
    from edgeseg.runtime.frames.temporal_smoothing import Smoother
    from edgeseg.runtime.session.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A window of the frame in pixels; parts outside the frame are cut off."""

    x: int
    y: int
    width: int
    height: int

    def within(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Return (rows, columns) in a frame of `size` (height, width); raises `InputError` if they do not overlap."""
        rows = slice(self.y, min(self.y + self.height, size[0]))
        columns = slice(self.x, min(self.x + self.width, size[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            raise InputError(
                f"The region {self.x},{self.y},{self.width},{self.height} lies outside the frame of "
                f"{size[1]}x{size[0]}. Give x,y,width,height in the frame's pixels."
            )
        return rows, columns


def region_of(text: str | None) -> Region | None:
    """Return the region that `X,Y,W,H` names, None for None; raises `InputError` for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text)
    if not match or not int(match[3]) or not int(match[4]):
        raise InputError(f'--roi "{text}" is not X,Y,WIDTH,HEIGHT in pixels. Write for example --roi 0,200,640,280.')
    return Region(x=int(match[1]), y=int(match[2]), width=int(match[3]), height=int(match[4]))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """Labels (H, W) uint8, the ignore index outside the region, and uncertainty (H, W) uint8 (255: most) or None."""

    labels: np.ndarray
    uncertainty: np.ndarray | None = None


class FrameProcessors(Protocol):
    """Gives the reader for each frame: always the same one, or one of several sizes by how long frames take."""

    def current(self) -> FrameProcessor:
        """Return the reader for the next frame."""

    def observe(self, *, busy_ms: float, latency_ms: float) -> None:
        """Take a frame's times: its longest stage, which sets the rate, and the sum from preprocessing to labels."""


class FrameProcessor:
    """What the loop does to a frame before and after the engine. Frames come in order; `read` is one thread's only.

    `temperature` divides the logits before uncertainty is computed; without it, uncertainty is not calibrated, and
    the title says so.
    """

    def __init__(
        self,
        session: Session,
        *,
        region: Region | None = None,
        smoother: Smoother | None = None,
        uncertainty: UncertaintyKind | None = None,
        temperature: float | None = None,
    ) -> None:
        self.session = session
        self.title = f"{session.engine} {session.artifact.manifest.scheme.name}"
        self._region = region
        self._smoother = smoother
        self._uncertainty = uncertainty
        spec = session.artifact.manifest.spec
        self.ignore_index = spec.ignore_index
        self._preprocess = session.artifact.manifest.preprocess
        self._temperature = 1.0 if temperature is None else temperature
        if uncertainty is not None:
            scaling = "not calibrated" if temperature is None else f"T {temperature:.2f}"
            self.title += f" {uncertainty} ({scaling})"
        if session.output.role == "labels" and (smoother or uncertainty):
            raise UnsupportedError(
                f"{session.artifact.manifest.name} gives labels; smoothing and uncertainty need logits. "
                "Convert with --output logits."
            )

    def current(self) -> FrameProcessor:
        """Return the reader for the next frame: this one, always."""
        return self

    def observe(self, *, busy_ms: float, latency_ms: float) -> None:
        """Do nothing: a single reader does not depend on how long frames take."""

    def forget(self) -> None:
        """Forget the frames before, as smoothing must not mix what was long ago into what comes; `read`'s thread."""
        if self._smoother is not None:
            self._smoother.forget()

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Return the input tensor of a frame (H, W, 3) BGR uint8, or of its region."""
        return self.session.preprocess(self._cut(image))

    def read(self, output: np.ndarray, *, size: tuple[int, int]) -> FrameResult:
        """Return what the engine's output says of a frame of `size` (height, width)."""
        where = None if self._region is None else self._region.within(size)
        inner = size if where is None else (where[0].stop - where[0].start, where[1].stop - where[1].start)
        labels, uncertainty = self._read(output, inner)
        if where is None:
            return FrameResult(labels=labels, uncertainty=uncertainty)
        framed = None if uncertainty is None else _framed(uncertainty, where, size, 0)
        return FrameResult(labels=_framed(labels, where, size, self.ignore_index), uncertainty=framed)

    def _read(self, output: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        from edgeseg.pixels import decode, real_logits
        from edgeseg.pixels.decode import cells_of

        tensor, session = self.session.output, self.session
        if self._smoother is None and self._uncertainty is None:
            return session.decode(output, size=size), None
        if tensor.values == "probabilities":
            cells, scale = real_logits(output, tensor).reshape(-1, len(session.artifact.manifest.spec.classes)), 1.0
        else:
            cells, scale = cells_of(output, tensor=tensor), tensor.scale or 1.0
        if self._smoother is not None:
            cells = self._smoother.smooth(cells, scale=scale)
        height, width = tensor.size
        flat = dataclasses.replace(tensor, layout="NHWC", shape=(1, height, width, cells.shape[1]))
        shaped = cells.reshape(flat.shape)
        labels = decode(shaped, tensor=flat, preprocess=self._preprocess, input_size=session.input.size, size=size)
        if self._uncertainty is None:
            return labels, None
        coarse = uncertainty_of(cells, scale=scale, temperature=self._temperature, kind=self._uncertainty).reshape(
            height, width
        )
        return labels, spread(coarse, preprocess=self._preprocess, input_size=session.input.size, size=size)

    def _cut(self, image: np.ndarray) -> np.ndarray:
        if self._region is None:
            return image
        return np.ascontiguousarray(image[self._region.within((image.shape[0], image.shape[1]))])


def _framed(inner: np.ndarray, where: tuple[slice, slice], size: tuple[int, int], value: int) -> np.ndarray:
    whole = np.full(size, value, np.uint8)
    whole[where] = inner
    return whole
