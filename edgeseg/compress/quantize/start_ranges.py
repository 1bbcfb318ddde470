"""The activation ranges that a stage for int8 starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.quantization import RANGES_FILE, Ranges, read_ranges

if TYPE_CHECKING:
    from edgeseg.models import Checkpoint


def starting_ranges(checkpoint: Checkpoint, source: str, *, carried: bool = True) -> Ranges:
    """Return the checkpoint's own ranges, else ranges observed on the images of `source`.

    Without `carried`, they are observed in any case. Findings about the images are ignored: stages take the images that
    the net was trained on, and their faults are in the weights already.

    Raises:
        InputError, DatasetError: images that cannot be used.
    """
    from edgeseg.export import calibrate_ranges

    folder = checkpoint.folder if checkpoint.folder.is_dir() else checkpoint.folder.parent
    path = folder / RANGES_FILE
    if carried and path.is_file():
        found = read_ranges(path)
        if found.weights_sha256 == checkpoint.spec.weights_sha256:
            return found
    return calibrate_ranges(checkpoint, source, ignore_findings=True).ranges
