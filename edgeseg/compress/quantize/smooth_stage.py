"""The stage `smooth`: SmoothQuant's scaling behind layer norms, for transformers in int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.quantize.smoothing import smooth
from edgeseg.compress.training_batches import draw_samples, image_batches
from edgeseg.core.records import encode_record

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothSettings(ImageSample):
    """Smoothing of outlier channels; see `edgeseg.compress.quantize.smoothing`."""

    balance: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ValueError("balance must be from 0 to 1.")
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class SmoothStage(ChangeStage):
    """Smooths the channels of layer norms."""

    name: ClassVar[str] = "smooth"
    does: ClassVar[str] = "outlier channels of layer norms move into weights; same outputs"

    settings: SmoothSettings

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net with smoothed layer norms and unchanged outputs, and the smoothed layers.

        Raises:
            InputError: the net has no layer norm that can be smoothed.
        """
        own, net = self.settings, checkpoint.net.eval()
        samples = draw_samples(data, images=own.images, seed=own.seed)
        links = smooth(net, image_batches(samples, spec=checkpoint.spec), size=job.size, balance=own.balance)
        return Changed(net=net, spec=checkpoint.spec, account={"links": encode_record(links)})
