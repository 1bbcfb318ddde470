"""A foreign file's output as the logits, probabilities or labels that a session returns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.file_io import FileIO, FileTensor


def session_output(stored: NDArray[Any], *, file: FileIO) -> NDArray[Any]:
    """Return what the manifest's output describes, from an output of the file in the file's own layout.

    Labels become (1, h, w) int32, one channel becomes two, (1, h, w, 2) float32, and several channels stay what they
    are, as (1, C, h, w) or (1, h, w, C), except that only those in `file.ids` are kept. The array is not copied where
    nothing changes.
    """
    if file.values == "labels":
        return _labels(stored, file)
    if file.one_channel:
        return _two_channels(_real(_planes(stored, file.layout), file.output), file)
    whole = stored if "N" in file.layout else stored[None]
    layout = file.layout if "N" in file.layout else f"N{file.layout}"
    if layout not in ("NCHW", "NHWC"):
        whole, layout = np.transpose(whole, [layout.index(axis) for axis in "NHWC"]), "NHWC"
    return whole.take(np.array(file.ids), axis=layout.index("C")) if file.ids else whole


def _planes(stored: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return (1, h, w) from an output of one value per pixel."""
    order = [layout.index(axis) for axis in "NCHW" if axis in layout]
    height, width = stored.shape[layout.index("H")], stored.shape[layout.index("W")]
    return np.transpose(stored, order).reshape(1, height, width)


def _real(stored: NDArray[Any], tensor: FileTensor) -> NDArray[np.float32]:
    values = stored.astype(np.float32)
    if tensor.scale is None:
        return values
    return (values - np.float32(tensor.zero_point or 0)) * np.float32(tensor.scale)


def _labels(stored: NDArray[Any], file: FileIO) -> NDArray[np.int32]:
    ids = np.rint(_real(_planes(stored, file.layout), file.output)).astype(np.int32)
    if not file.ids:
        return ids
    classes = np.full(max(file.ids) + 2, file.unlisted, np.int32)  # the last entry stands for every other id
    classes[list(file.ids)] = np.arange(len(file.ids))
    last = len(classes) - 1
    return classes[np.where((ids < 0) | (ids > last), last, ids)]


def _two_channels(real: NDArray[np.float32], file: FileIO) -> NDArray[np.float32]:
    """Return (1, h, w, 2): logits (0, z) or probabilities (1 - p, p), equal where p is the threshold.

    A threshold t other than 0.5 shifts z by its own logit, and with it the odds of p, so that p stays a probability:
    p (1 - t) / (p (1 - t) + (1 - p) t).
    """
    t = file.threshold
    if file.values == "logits":
        z = real - np.float32(math.log(t / (1 - t)))
        return np.stack((np.zeros_like(z), z), axis=-1)
    p = np.clip(real, 0, 1)
    if t != 0.5:
        p = (p * (1 - t) / (p * (1 - t) + (1 - p) * t)).astype(np.float32)
    return np.stack((1 - p, p), axis=-1)
