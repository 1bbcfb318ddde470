"""A teacher's answers on disk: one file an image, each with its own checksum.

An answer follows from the teacher and the image alone, so the folder is named after the teacher's identity and the
file after the image's pixels: another teacher, other settings or an altered image never meet a stored answer that
is not theirs, a build that was cut off goes on, and runs share what they have in common.
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

log = logging.getLogger(__name__)
IDENTITY_FILE = "teacher.json"
VERSION = 1


def default_root() -> Path:
    """Return the user's folder for answers that no recipe gives a place."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "edgeseg" / "teachers"


def image_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's shape and pixels (H, W, 3) uint8."""
    return sha256_of_bytes(struct.pack("<2q", *image.shape[:2]) + np.ascontiguousarray(image).tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCache:
    """The answers of one teacher, float16 (C, h, w) safetensors; `identity` is what they follow from."""

    root: Path
    identity: dict[str, object]

    @property
    def key(self) -> str:
        """The SHA-256 of the identity."""
        return sha256_of_bytes(json.dumps({**self.identity, "version": VERSION}, sort_keys=True).encode())

    @property
    def folder(self) -> Path:
        """Where this teacher's answers lie."""
        return self.root / self.key[:16]

    def file(self, image: str) -> Path:
        """Return the file of the answer to an image, given by SHA-256."""
        return self.folder / f"{image}.safetensors"

    def open(self) -> None:
        """Make the folder, with the identity in it for whoever looks.

        Raises:
            InputError: a folder that cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / MARKER).touch()
            write_json(self.identity, self.folder / IDENTITY_FILE)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written: {error.strerror}. Choose another cache.") from error

    def read(self, image: str) -> Tensor:
        """Return the answer to an image, (C, h, w) float16.

        Raises:
            ArtifactError: no such file, or one that is cut off, altered, or another teacher's or image's.
        """
        from safetensors import SafetensorError, safe_open

        path = self.file(image)
        try:
            with safe_open(path, framework="pt") as stream:
                told, answer = stream.metadata() or {}, stream.get_tensor("answer")
        except (OSError, SafetensorError, ValueError) as error:
            raise ArtifactError(f"{path}: missing or cut off ({error}). {_AGAIN}") from error
        if told != self._label(image, answer):
            raise ArtifactError(
                f"{path}: its checksum does not hold: altered, or it belongs to another teacher or image. {_AGAIN}"
            )
        return answer

    def write(self, image: str, answer: Tensor) -> None:
        """Store an answer (C, h, w), whole or not at all, rounded to float16.

        Raises:
            CheckpointError: a teacher whose answer is not a number, or beyond float16's 65504.
        """
        from safetensors.torch import save_file

        answer = answer.detach().cpu().half().contiguous()
        if not bool(answer.isfinite().all()):
            raise CheckpointError(
                f"The teacher's answer to the image {image[:12]}... is not a number that float16 holds. "
                "Its weights are broken; choose another teacher."
            )
        path = self.file(image)
        # Two runs may fill one folder at the same time.
        partial = path.with_name(f".{image}.{os.getpid()}.partial")
        try:
            save_file({"answer": answer}, partial, metadata=self._label(image, answer))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def holds(self, image: str) -> bool:
        """Return whether there is a whole answer to an image; a damaged one is reported in the log."""
        try:
            self.read(image)
        except ArtifactError as error:
            if self.file(image).exists():
                log.warning("%s", error)
            return False
        return True

    def _label(self, image: str, answer: Tensor) -> dict[str, str]:
        content = answer.view(torch.uint8).numpy().tobytes() if answer.dtype == torch.float16 else b""
        shape = "x".join(map(str, answer.shape))
        return {"teacher": self.key, "image": image, "shape": shape, "sha256": sha256_of_bytes(content)}


_AGAIN = "Start the run again with --resume: what is damaged is made anew."
