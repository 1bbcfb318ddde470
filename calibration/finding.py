"""One thing that the calibration doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeseg.errors import GateError

Severity = Literal["blocking", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFinding:
    """A problem with calibration images, and how to fix it, in one text.

    `kind` is stable: "constant", "near-duplicate", "leakage", "few", "missing-class", "small", "aspect", "unreadable",
    "colour-order", "normalised-twice", "domain". With a blocking one, ranges would be wrong or figures untrue.
    """

    kind: str
    text: str
    severity: Severity = "warning"

    def __str__(self) -> str:
        return self.text


def refuse_blocking(findings: tuple[CalibrationFinding, ...], *, ignore: bool) -> None:
    """Raise `GateError` with every blocking finding, unless they are to be ignored."""
    blocking = [item.text for item in findings if item.severity == "blocking"]
    if blocking and not ignore:
        raise GateError(
            f"Not calibrated: {' '.join(blocking)} If the images are right all the same, give --ignore-findings."
        )
