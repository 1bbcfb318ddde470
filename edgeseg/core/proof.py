"""How far an artifact was proven: `ProofLevel`, `Proof`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProofLevel = Literal["device", "engine", "simulator", "reference", "source", "none"]
"""What compared the artifact's labels with the float checkpoint's, best first.

"device": the device itself (a receipt came back). "engine": the engine that the device runs, here. "simulator": the
vendor's simulator of the chip. "reference": our own evaluator of the format. "source": only the artifact that it was
compiled from. "none": nothing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof level of an artifact, what ran it there, and, below "engine", why it was no better."""

    level: ProofLevel
    engine: str = ""
    reason: str = ""
