"""The stage `adaround`: weights rounded to int8 up or down, for the least error of each layer's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed
from edgeseg.compress.quantize.adaround import round_adaptively
from edgeseg.compress.quantize.rounding_stage import RoundingSample, RoundingStage
from edgeseg.core.records import encode_record
from edgeseg.train.events import Loading

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaroundSettings(RoundingSample):
    """Adaptive rounding in `steps` steps a layer; see `edgeseg.compress.quantize.adaround`."""

    steps: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be 1 or more.")
        RoundingSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class AdaroundStage(RoundingStage):
    """Rounds the weights of all convolutions and linear layers in int8."""

    name: ClassVar[str] = "adaround"
    does: ClassVar[str] = "round weights to int8 so that each layer's output changes least"

    settings: AdaroundSettings

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net with rounded weights, and each layer's error by nearest and by adaptive rounding.

        Raises:
            InputError: no layer to round.
            UnknownName: the net does not have one of the float layers.
        """

        def report(what: str, done: int, total: int) -> None:
            if job.on_event is not None:
                job.on_event(Loading(data=what, done=done, total=total))

        images, ranges = self.sample(checkpoint, data=data, job=job)
        net, layers = round_adaptively(
            checkpoint.net.eval(),
            images,
            size=job.size,
            ranges=ranges.ranges,
            float_layers=ranges.float_layers,
            steps=self.settings.steps,
            seed=self.settings.seed,
            on_progress=report,
        )
        return Changed(net=net, spec=checkpoint.spec, account={"layers": encode_record(layers)})
