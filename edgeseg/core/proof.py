"""How well an artifact is proven: `ProofLevel`, `Proof`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProofLevel = Literal["device", "engine", "simulator", "reference", "source", "file", "none"]
"""Where the artifact's labels were compared with the float checkpoint's, best first.

"device": on the device itself (it sent a receipt). "engine": here, with the engine that the device runs. "simulator":
the vendor's simulator of the chip. "reference": our own evaluator of the format. "source": only the artifact that it
was compiled from. "file": a foreign file, which has no float checkpoint: the golden labels are those that the file
itself gave here. "none": nowhere.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof level of an artifact, the engine used and, below "engine", why no better proof was possible."""

    level: ProofLevel
    engine: str = ""
    reason: str = ""
