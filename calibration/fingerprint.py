"""Hashes that show whether two calibrations are equal, and that find near-duplicate images."""

from __future__ import annotations

import hashlib
import json
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


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return 240 bits, (240,) bool: whether grey rises between neighbours of a 16 x 16 thumbnail (Krawetz's dHash)."""
    grey = cv2.cvtColor(cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.asarray(grey[:, 1:] > grey[:, :-1]).reshape(-1)
