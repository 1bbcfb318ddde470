"""The device side: an artifact on an engine, from a picture or a camera to labels.

Needs numpy, OpenCV and one engine's own library, and imports the last two only where they are used.
"""

from __future__ import annotations

from edgeseg.runtime.session import Session, load
from edgeseg.runtime.verify import Verification, verify

__all__ = ["Session", "Verification", "load", "verify"]
