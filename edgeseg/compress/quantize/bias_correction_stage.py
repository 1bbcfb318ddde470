"""The stage `bias_correction`: the mean int8 error of each layer, folded into its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed
from edgeseg.compress.quantize.bias_correction import correct_biases
from edgeseg.compress.quantize.rounding_stage import RoundingStage
from edgeseg.core.records import encode_record

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, kw_only=True)
class BiasCorrectionStage(RoundingStage):
    """Corrects the biases of all layers with int8 weights."""

    name: ClassVar[str] = "bias_correction"
    does: ClassVar[str] = "fold each layer's mean int8 error into its bias; no training"

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net with rounded weights and corrected biases, and each layer's mean error before.

        Raises:
            InputError: no layer to correct.
            UnknownName: the net does not have one of the float layers.
        """
        images, ranges = self.sample(checkpoint, data=data, job=job)
        net, layers = correct_biases(
            checkpoint.net.eval(), images, size=job.size, ranges=ranges.ranges, float_layers=ranges.float_layers
        )
        return Changed(net=net, spec=checkpoint.spec, account={"layers": encode_record(layers)})
