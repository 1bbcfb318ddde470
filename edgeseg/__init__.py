"""edgeseg takes a semantic-segmentation model from a PyTorch checkpoint to edge devices, and proves it there."""

from __future__ import annotations

__version__ = "0.1.0"
