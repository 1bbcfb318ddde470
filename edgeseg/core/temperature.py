"""Temperature scaling: the number that a net's logits are divided by to calibrate its probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.files import read_json
from edgeseg.errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

TEMPERATURE_FILE = "temperature.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """A temperature of one net's logits (Guo et al., On Calibration of Modern Neural Networks, ICML 2017).

    `fitted` is fitted to all `images`. `value`, the temperature to use, equals it, or is 1 if `fitted` did not lower
    the NLL of held-out images. The scores are cross-validated: each half of the images was scored with the temperature
    of the other half (`halves`), and without one. NLL is in nats, ECE over 15 bins; both over labelled output cells.
    """

    value: float
    fitted: float
    weights_sha256: str
    data: str
    split: str
    images: int
    cells: int
    halves: tuple[float, float]
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"a temperature is above 0; got {self.value}.")


def read_temperature(folder: Path, *, weights_sha256: str) -> Temperature | None:
    """Return the temperature stored with the checkpoint in `folder`, None if there is none.

    Raises:
        CheckpointError: the file does not follow its schema, or belongs to other weights.
    """
    path = folder / TEMPERATURE_FILE
    if not path.is_file():
        return None
    try:
        found = read_json(Temperature, path)
    except RecipeError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if found.weights_sha256 != weights_sha256:
        raise CheckpointError(
            f"{path}: was fitted to other weights. Fit again with edgeseg calibrate --temperature, or remove it."
        )
    return found
