"""Paired augmentation: the same geometry for an image and its label map, colour for the image alone.

It uses OpenCV's resize, LUT and filters; OpenCV is a dependency anyway. All randomness comes from one numpy Generator
that the caller derives from (seed, epoch, index). A sample depends on nothing else, so a run that resumes in the middle
of an epoch, or with another number of workers, sees the same images.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.data.dataset import Sample
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A window of `size` at row `top` and column `left` of an image resized to `grown`, optionally flipped.

    All values are pixels, sizes (height, width). A negative `top` or `left` means padding before the image.
    """

    grown: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]
    flipped: bool

    def fractions(self, cells: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the positions on the image of the cell centres of a grid over the window, (rows,) and (columns,).

        The image spans 0 to 1 along each side; positions outside are padding.
        """
        y, x = ((np.arange(count) + 0.5) / count * side for count, side in zip(cells, self.size, strict=True))
        x = self.size[1] - x if self.flipped else x
        return (y + self.top) / self.grown[0], (x + self.left) / self.grown[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """The recipe's `[augment]`: random changes of a sample. Zeros and scales of 1 leave only crop and padding."""

    scale_min: float = 0.5
    """Smallest scale, relative to the size at which the whole image best fits the crop."""
    scale_max: float = 2.0
    """Largest scale; the scale is drawn log-uniformly."""
    aspect: float = 0.0
    """Largest change of the aspect ratio, as a share (0.1 = +-10 %)."""
    flip: float = 0.5
    """Probability of a horizontal flip, 0..1."""
    brightness: float = 0.25
    """Brightness is multiplied by 1 +- this."""
    contrast: float = 0.25
    """Contrast (the distance from the image's mean grey) is multiplied by 1 +- this."""
    saturation: float = 0.3
    """Saturation (the distance from grey of the same luma) is multiplied by 1 +- this."""
    hue_degrees: float = 6.0
    """Largest rotation of the hue, degrees."""
    gamma: float = 0.2
    """Gamma is drawn between 1 / (1 + this) and 1 + this."""
    blur_chance: float = 0.1
    """Probability of a Gaussian blur, 0..1."""
    blur_px: float = 1.2
    """Largest standard deviation of that blur, pixels."""
    noise: float = 4.0
    """Largest standard deviation of added noise, grey levels of 255."""
    ignore_index: int | None = None
    """Label of padded pixels; it must equal the data's ignored index, which is the default."""
    pad_bgr: tuple[int, int, int] = (114, 114, 114)
    """Colour of padded pixels, 0..255."""

    def __post_init__(self) -> None:
        chances, shares = ("flip", "blur_chance"), ("brightness", "contrast", "saturation", "aspect")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in chances and not 0 <= value <= 1:
                raise InputError(f"augment: {field.name} is {value}; give a chance from 0 to 1.")
            if field.name in shares and not 0 <= value < 1:
                raise InputError(f"augment: {field.name} is {value}; give a share from 0 to below 1.")
            if field.name in ("hue_degrees", "gamma", "blur_px", "noise") and not 0 <= value < float("inf"):
                raise InputError(f"augment: {field.name} is {value}; give 0 or more.")
        if not 0 < self.scale_min <= self.scale_max < float("inf"):
            raise InputError(
                f"augment: scale_min {self.scale_min} to scale_max {self.scale_max} is no range; give 0 < min <= max."
            )
        if self.ignore_index is not None and not 0 <= self.ignore_index <= 255:
            raise InputError(f"augment: ignore_index is {self.ignore_index}; give 0 to 255.")
        if len(self.pad_bgr) != 3 or not all(0 <= v <= 255 for v in self.pad_bgr):
            raise InputError(f"augment: pad_bgr is {self.pad_bgr}; give three values from 0 to 255.")

    def apply(self, sample: Sample, *, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        """Return a new sample of `size` (height, width): scaled, cropped or padded, flipped, with changed colours."""
        return self.apply_crop(sample, self.crop(sample.labels.shape, rng=rng, size=size), rng=rng)

    def apply_crop(self, sample: Sample, crop: Crop, *, rng: np.random.Generator) -> Sample:
        """Return the sample's `crop` with changed colours; `rng` is the one that `crop` has drawn from."""
        image, labels = self._cut(sample, crop)
        image = self._colour(image, rng=rng)
        return Sample(id=sample.id, image=image, labels=labels)

    def crop(self, source_size: tuple[int, ...], *, rng: np.random.Generator, size: tuple[int, int]) -> Crop:
        """Return a random crop of `size` for an image of `source_size` (height, width)."""
        high, width = source_size
        fit = min(size[0] / high, size[1] / width)
        zoom = fit * float(np.exp(rng.uniform(np.log(self.scale_min), np.log(self.scale_max))))
        stretch = 1.0 + float(rng.uniform(-self.aspect, self.aspect))
        grown = max(1, round(high * zoom)), max(1, round(width * zoom * stretch))
        top = _offset(rng, length=grown[0], wanted=size[0])
        left = _offset(rng, length=grown[1], wanted=size[1])
        return Crop(grown=grown, top=top, left=left, size=size, flipped=rng.random() < self.flip)

    def _cut(self, sample: Sample, crop: Crop) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the cropped image and labels, padded outside the image."""
        area = crop.grown[0] < sample.labels.shape[0] and crop.grown[1] < sample.labels.shape[1]
        grown = crop.grown[::-1]
        image = cv2.resize(sample.image, grown, interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
        # INTER_NEAREST_EXACT samples pixel centres like the image's filters; plain NEAREST is half a pixel off.
        labels = cv2.resize(sample.labels, grown, interpolation=cv2.INTER_NEAREST_EXACT)
        top, bottom, cut_y = _window(crop.top, length=crop.grown[0], wanted=crop.size[0])
        left, right, cut_x = _window(crop.left, length=crop.grown[1], wanted=crop.size[1])
        image, labels = image[cut_y, cut_x], labels[cut_y, cut_x]
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=self.pad_bgr)
        padding = 255 if self.ignore_index is None else self.ignore_index
        labels = cv2.copyMakeBorder(labels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=padding)
        if crop.flipped:
            image, labels = cv2.flip(image, 1), cv2.flip(labels, 1)
        return np.asarray(image, np.uint8), np.asarray(labels, np.uint8)

    def _colour(self, image: NDArray[np.uint8], *, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image with changed colours: one colour matrix, one tone curve, then blur and noise."""
        bright, contrast, saturation = (
            1.0 + float(rng.uniform(-v, v)) for v in (self.brightness, self.contrast, self.saturation)
        )
        turn = np.deg2rad(float(rng.uniform(-self.hue_degrees, self.hue_degrees)))
        gamma = float(np.exp(rng.uniform(-1, 1) * np.log1p(self.gamma)))
        blurred, deviation = rng.random() < self.blur_chance, float(rng.uniform(0, self.blur_px))
        loud = float(rng.uniform(0, self.noise))
        grain_seed = int(rng.integers(2**31 - 1))
        if saturation != 1.0 or turn != 0.0:
            image = np.asarray(cv2.transform(image, _hue_saturation(turn, saturation)), np.uint8)
        if (bright, contrast, gamma) != (1.0, 1.0, 1.0):
            mean = float(image.mean())
            x = np.arange(256, dtype=np.float64)
            curve = np.clip(((x - mean) * contrast + mean) * bright, 0, 255) / 255
            image = np.asarray(cv2.LUT(image, np.rint(255 * curve**gamma).astype(np.uint8)), np.uint8)
        if blurred and deviation > 0.2:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.uint8)
        if loud > 0.5:
            noise = np.random.default_rng(grain_seed).standard_normal(image.shape, dtype=np.float32)
            image = np.clip(image + noise * np.float32(loud), 0, 255).astype(np.uint8)
        return image


def _offset(rng: np.random.Generator, *, length: int, wanted: int) -> int:
    """Return a random start of a window of `wanted` pixels on `length` pixels; negative if the window is larger."""
    if length >= wanted:
        return int(rng.integers(0, length - wanted + 1))
    return -int(rng.integers(0, wanted - length + 1))


def _window(start: int, *, length: int, wanted: int) -> tuple[int, int, slice]:
    """Return padding before, padding after and the slice to keep, which turn `length` pixels into `wanted`."""
    before = max(0, -start)
    kept = slice(max(0, start), min(length, start + wanted))
    return before, wanted - before - (kept.stop - kept.start), kept


def _hue_saturation(turn: float, saturation: float) -> NDArray[np.float64]:
    """Return a BGR colour matrix, (3, 3): rotation and scaling in the plane of constant luma (YIQ, NTSC 1953)."""
    to_yiq = np.array([[0.114, 0.587, 0.299], [-0.3213, -0.2744, 0.5957], [0.3111, -0.5227, 0.2116]])
    cos, sin = saturation * np.cos(turn), saturation * np.sin(turn)
    plane = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    return np.asarray(np.linalg.inv(to_yiq) @ plane @ to_yiq)
