"""Synthetic streets: a seeded renderer of small road scenes with exact masks in CamVid's eleven classes.

A town is generated from its seed, 12 m of road at a time, and painted from far to near into an image and a label map
by the same strokes; lens and sensor then change the image only. Nothing is downloaded or stored.
"""

from __future__ import annotations

from edgeseg.data.streets.collection import StreetsDataset
from edgeseg.data.streets.palette import CLASSES, PALETTE
from edgeseg.data.streets.video import StreetVideo, render_street

__all__ = ["CLASSES", "PALETTE", "StreetVideo", "StreetsDataset", "render_street"]
