"""Teacher outputs on disk: one file per image, each with its own checksum.

An output depends only on the teacher and the image, so the folder is named by a hash of the teacher's identity and the
file by a hash of the image's pixels. Another teacher, other settings or a changed image never get a wrong output, an
interrupted build continues, and runs share their outputs.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgeseg.core.files import MARKER, sha256_of_bytes, write_json
from edgeseg.errors import ArtifactError, CheckpointError, InputError

_log = logging.getLogger(__name__)
IDENTITY_FILE = "teacher.json"
_VERSION = 1


def default_root() -> Path:
    """Return the default folder of teacher outputs, in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "edgeseg" / "teachers"


def image_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's shape and pixels (H, W, 3) uint8."""
    return sha256_of_bytes(struct.pack("<2q", *image.shape[:2]) + np.ascontiguousarray(image).tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCache:
    """The outputs of one teacher, float16 (C, h, w) safetensors; `identity` is everything they depend on."""

    root: Path
    identity: dict[str, object]

    @property
    def key(self) -> str:
        """The SHA-256 of the identity."""
        return sha256_of_bytes(json.dumps({**self.identity, "version": _VERSION}, sort_keys=True).encode())

    @property
    def folder(self) -> Path:
        """The folder of this teacher's outputs."""
        return self.root / self.key[:16]

    def file(self, image: str) -> Path:
        """Return the file of the output for an image, given by SHA-256."""
        return self.folder / f"{image}.safetensors"

    def open(self) -> None:
        """Create the folder, with the identity in a readable file.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / MARKER).touch()
            write_json(self.identity, self.folder / IDENTITY_FILE)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written: {error.strerror}. Choose another cache.") from error

    def read(self, image: str) -> Tensor:
        """Return the output for an image, (C, h, w) float16.

        Raises:
            ArtifactError: the file is missing, truncated or altered, or belongs to another teacher or image.
        """
        from safetensors import SafetensorError, safe_open

        path = self.file(image)
        try:
            with safe_open(path, framework="pt") as stream:
                label: dict[str, str] = stream.metadata() or {}
                output: Tensor = stream.get_tensor("answer")
        except (OSError, SafetensorError, ValueError) as error:
            raise ArtifactError(f"{path}: missing or truncated ({error}). {_AGAIN}") from error
        if label != self._label(image, output):
            raise ArtifactError(
                f"{path}: its checksum does not match: altered, or it belongs to another teacher or image. {_AGAIN}"
            )
        return output

    def write(self, image: str, output: Tensor) -> None:
        """Store an output (C, h, w) atomically, rounded to float16.

        Raises:
            CheckpointError: the output is not finite, or beyond float16's 65504.
        """
        from safetensors.torch import save

        output = output.detach().cpu().half().contiguous()
        if not bool(output.isfinite().all()):
            raise CheckpointError(
                f"The teacher's output for the image {image[:12]}... is not finite in float16. "
                "Its weights are damaged; choose another teacher."
            )
        path = self.file(image)
        # Two runs may fill one folder at the same time.
        partial = path.with_name(f".{image}.{os.getpid()}.partial")
        try:
            partial.write_bytes(save({"answer": output}, metadata=self._label(image, output)))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def holds(self, image: str) -> bool:
        """Return whether there is an intact output for an image; a damaged one is logged."""
        try:
            self.read(image)
        except ArtifactError as error:
            if self.file(image).exists():
                _log.warning("%s", error)
            return False
        return True

    def _label(self, image: str, output: Tensor) -> dict[str, str]:
        content = output.view(torch.uint8).numpy().tobytes() if output.dtype == torch.float16 else b""
        shape = "x".join(map(str, output.shape))
        return {"teacher": self.key, "image": image, "shape": shape, "sha256": sha256_of_bytes(content)}


_AGAIN = "Start the run again with --resume: damaged files are created again."
