"""A few validation images in the checkpoint's folder, so that conversions are proven on images of its own kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.models.checkpoint import PROOF_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeseg.data import Sample

STORED = 4
_RENDERED = "streets"
_FREE = ("Apache-2.0", "MIT", "BSD-", "ISC", "CC0-", "PDDL-", "ODbL-", "ODC-By-", "CC-BY-SA-")
_CREDITED = tuple(f"CC-BY-{version}" for version in ("1.0", "2.0", "2.5", "3.0", "4.0"))


def may_be_passed_on(licence: str) -> bool:
    """Return whether images of a licence (an SPDX identifier, or "unknown") may lie in a checkpoint that is passed on.

    >>> may_be_passed_on("CC-BY-4.0"), may_be_passed_on("CC-BY-NC-4.0"), may_be_passed_on("unknown")
    (True, False, False)
    """
    return licence.startswith(_FREE) or licence in _CREDITED


def store_images(folder: Path, samples: Sequence[Sample], *, name: str, licence: str) -> None:
    """Write `STORED` of the samples, evenly spaced, into a checkpoint's folder `proof`, if their licence allows.

    `name` is their data set's. Rendered streets are left out: they are rendered again where they are needed.
    """
    if not samples or not may_be_passed_on(licence) or name.startswith(_RENDERED):
        return
    import cv2

    (folder / PROOF_FOLDER).mkdir(exist_ok=True)
    places = np.unique(np.linspace(0, len(samples) - 1, min(STORED, len(samples)), dtype=int))
    for number, index in enumerate(places, start=1):
        done, data = cv2.imencode(".png", samples[int(index)].image)
        if done:
            (folder / PROOF_FOLDER / f"{number}.png").write_bytes(data.tobytes())
    (folder / PROOF_FOLDER / "LICENSE.txt").write_text(
        f"Validation images of {name}.\nSPDX-License-Identifier: {licence}\n", encoding="utf-8"
    )
