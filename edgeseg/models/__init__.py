"""Networks, their checkpoints and their cost."""

from __future__ import annotations

from edgeseg.models.architecture import Architecture, architecture, architectures
from edgeseg.models.build import build, build_spec
from edgeseg.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeseg.models.cost import Cost, cost
from edgeseg.models.foreign.encoder_weights import EncoderLoad, load_encoder
from edgeseg.models.opening import Model, open_model
from edgeseg.models.pruned_channels import channels_of
from edgeseg.models.resolve import bundled, resolve_model
from edgeseg.models.surgery import without_aux

__all__ = [
    "Architecture",
    "Checkpoint",
    "Cost",
    "EncoderLoad",
    "Model",
    "architecture",
    "architectures",
    "build",
    "build_spec",
    "bundled",
    "channels_of",
    "cost",
    "load_checkpoint",
    "load_encoder",
    "open_model",
    "resolve_model",
    "save_checkpoint",
    "without_aux",
]
