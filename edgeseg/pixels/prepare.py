"""From an image to the exact input tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeseg.errors import InputError
from edgeseg.pixels.geometry import place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.spec import Preprocess, TensorSpec

PAD = 114
"""Grey level around a letterboxed image, near the mean of natural images."""


def prepare(image: NDArray[np.uint8], *, preprocess: Preprocess, tensor: TensorSpec) -> NDArray[Any]:
    """Return the input tensor, batch 1, in the layout and dtype of `tensor`, from an image (H, W, 3) BGR uint8.

    With `preprocess.in_graph` the tensor holds pixel values (0 to 255), otherwise normalised values. Both are quantized
    if the tensor is, except uint8 pixels, which are already bytes.

    Raises:
        InputError: the image is not (H, W, 3) uint8, or the tensor is int8 without a scale and cannot hold pixels.
    """
    pixels: NDArray[Any] = fit(image, preprocess=preprocess, size=tensor.size)
    if not preprocess.in_graph:
        mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
        pixels = (pixels.astype(np.float32) * np.float32(preprocess.scale) - mean) / std
    is_bytes = preprocess.in_graph and tensor.dtype == "uint8"
    if tensor.scale is not None and not is_bytes:
        limits = np.iinfo(tensor.dtype)
        pixels = np.clip(np.rint(pixels / tensor.scale) + (tensor.zero_point or 0), limits.min, limits.max)
    elif tensor.dtype == "int8":
        raise InputError(f"{tensor.name}: the tensor is int8 without a scale: it cannot hold pixels from 0 to 255.")
    if tensor.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None], dtype=tensor.dtype)


def fit(image: NDArray[np.uint8], *, preprocess: Preprocess, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) BGR uint8 at `size` (height, width), in the model's resize rule and colour order.

    Raises:
        InputError: the image is not (H, W, 3) uint8.
    """
    check_image(image)
    fitted: NDArray[Any] = image
    where = place(image.shape[:2], input_size=size, preprocess=preprocess)
    if image.shape[:2] != (where.height, where.width):
        fitted = cv2.resize(
            image, (where.width, where.height), interpolation=_interpolation(image, preprocess, where.height)
        )
    if (where.height, where.width) != size:
        bottom, right = size[0] - where.top - where.height, size[1] - where.left - where.width
        fitted = cv2.copyMakeBorder(
            fitted, where.top, bottom, where.left, right, cv2.BORDER_CONSTANT, value=(PAD, PAD, PAD)
        )
    ordered = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB) if preprocess.color_order == "rgb" else fitted
    return np.asarray(ordered, np.uint8)


def check_image(image: NDArray[Any]) -> None:
    """Raise `InputError` unless `image` is an image (H, W, 3) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"An image must be a numpy array (H, W, 3) uint8; got {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f"An image must be (H, W, 3) uint8 in BGR order; got {image.shape} {image.dtype}. "
            "Read it with cv2.imread(path, cv2.IMREAD_COLOR)."
        )


def _interpolation(image: NDArray[np.uint8], preprocess: Preprocess, height: int) -> int:
    # INTER_AREA only makes sense for shrinking; for enlarging, OpenCV falls back to nearest-like boxes.
    shrinks = height < image.shape[0]
    return cv2.INTER_AREA if preprocess.interpolation == "area" and shrinks else cv2.INTER_LINEAR
