"""Hashes that show whether two calibrations are equal, and that find near-duplicate images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeseg.core.files import sha256_of_bytes
from edgeseg.core.records import encode_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.core.spec import Preprocess


def preprocess_sha256(preprocess: Preprocess) -> str:
    """Return the hash of the preprocessing settings."""
    return sha256_of_bytes(json.dumps(encode_record(preprocess), sort_keys=True).encode())


def tensors_sha256(tensors: Iterable[NDArray[Any]]) -> str:
    """Return the hash of the exact input tensors in order, including shapes and dtypes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


_THUMBNAIL = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFingerprint:
    """What of an image shows that another is nearly the same.

    `bits` (240,) bool is Krawetz's dHash: whether grey rises between neighbours of a 16 x 16 thumbnail. On even or
    evenly lit ground it is nearly constant, whatever small thing lies there; `grey` (32, 32) int16, a finer thumbnail
    in grey levels, shows that.
    """

    bits: NDArray[np.bool_]
    grey: NDArray[np.int16]

    def bits_apart(self, other: ImageFingerprint) -> int:
        """Return in how many bits the two differ, 0 to 240."""
        return int(np.count_nonzero(self.bits != other.bits))

    def levels_apart(self, other: ImageFingerprint) -> int:
        """Return by how many grey levels the two differ where they differ most, 0 to 255."""
        return int(np.abs(self.grey - other.grey).max())


def fingerprint(image: NDArray[np.uint8]) -> ImageFingerprint:
    """Return the fingerprint of an image (H, W, 3) uint8 BGR."""
    coarse = _grey_thumbnail(image, side=16)
    return ImageFingerprint(
        bits=np.asarray(coarse[:, 1:] > coarse[:, :-1]).reshape(-1),
        grey=_grey_thumbnail(image, side=_THUMBNAIL).astype(np.int16),
    )


def _grey_thumbnail(image: NDArray[np.uint8], *, side: int) -> NDArray[np.uint8]:
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
