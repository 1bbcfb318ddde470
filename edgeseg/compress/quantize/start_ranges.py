"""The activation ranges that a stage for int8 starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.models.checkpoint import stored_ranges

if TYPE_CHECKING:
    from edgeseg.core.quantization import Ranges
    from edgeseg.models import Checkpoint


def starting_ranges(checkpoint: Checkpoint, source: str, *, carried: bool = True) -> Ranges:
    """Return the checkpoint's own ranges, else ranges observed on the images of `source`.

    Without `carried`, they are observed in any case. Findings about the images are ignored: stages take the images that
    the net was trained on, and their faults are in the weights already.

    Raises:
        InputError, DatasetError: images that cannot be used.
    """
    from edgeseg.export import calibrate_ranges

    found = stored_ranges(checkpoint.folder, weights_sha256=checkpoint.spec.weights_sha256) if carried else None
    if found is not None:
        return found
    return calibrate_ranges(checkpoint, source, ignore_findings=True).ranges
