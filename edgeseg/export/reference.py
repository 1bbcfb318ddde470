"""The float reference: a checkpoint in PyTorch with the interface of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import CheckpointError
from edgeseg.export.export import deploy
from edgeseg.export.golden import float_answer
from edgeseg.export.head import answer_spec, image_spec, taking_pixels
from edgeseg.pixels import decode, prepare
from edgeseg.pixels.decode import cells_of

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec
    from edgeseg.models.checkpoint import Checkpoint


class TorchReference:
    """The float net that artifacts are compared with; it has their preprocessing and decoder.

    Its methods raise `CheckpointError` if the logits hold NaN or infinity.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec: ModelSpec = taking_pixels(checkpoint.spec)
        self._net = deploy(checkpoint, spec=self.spec, output="logits")

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Return class ids (H, W) uint8 at the size of an image (H, W, 3) BGR uint8."""
        return decode(
            self._answer(image),
            tensor=answer_spec(self.spec, output="logits"),
            preprocess=self.spec.preprocess,
            input_size=self.spec.size,
            size=image.shape[:2],
        )

    def cells(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the logits of an image's cells, (h * w, C) float32, and (h, w)."""
        tensor = answer_spec(self.spec, output="logits")
        return cells_of(self._answer(image), tensor=tensor), tensor.size

    def _answer(self, image: np.ndarray) -> np.ndarray:
        tensor = prepare(image, preprocess=self.spec.preprocess, tensor=image_spec(self.spec))
        answer = float_answer(self._net, tensor)
        if not np.isfinite(answer).all():
            raise CheckpointError(
                f"{self.spec.name}: its logits hold NaN or infinity: the training diverged, or its preprocessing is "
                "another. Use other weights, or check the spec's mean, std and scale."
            )
        return answer
