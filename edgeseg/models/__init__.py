"""Networks, their checkpoints and their cost."""

from __future__ import annotations

from edgeseg.models.architecture import Architecture, architecture, architectures, build, without_aux
from edgeseg.models.encoder import EncoderLoad, load_encoder

__all__ = [
    "Architecture",
    "EncoderLoad",
    "architecture",
    "architectures",
    "build",
    "load_encoder",
    "without_aux",
]
