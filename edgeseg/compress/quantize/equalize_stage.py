"""The stage `equalize`: cross-layer equalization, for int8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.quantize.cross_layer_equalization import equalize
from edgeseg.compress.quantize.shared_input_normalization import share_normalisation
from edgeseg.compress.training_batches import draw_samples, image_batches
from edgeseg.core.records import encode_record, renamed

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualizeSettings(ImageSample):
    """Cross-layer equalization: the same outputs, with more similar channel ranges, so that int8 loses less.

    See `edgeseg.compress.quantize.cross_layer_equalization`.
    """

    balance: float = 0.5
    share_input_normalization: bool = field(default=False, metadata=renamed("image", "picture"))
    """Also use one mean and deviation for all image channels, so that an artifact takes bytes as int8 directly.

    See `edgeseg.compress.quantize.shared_input_normalization`."""

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ValueError("balance must be from 0 to 1.")
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class EqualizeStage(ChangeStage):
    """Equalizes channel ranges."""

    name: ClassVar[str] = "equalize"
    does: ClassVar[str] = "even out channels for int8; same outputs"

    settings: EqualizeSettings

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net with equalized weights and unchanged outputs, and the equalized layers.

        Raises:
            InputError: no layers to equalize, or the image is read by something other than convolutions.
        """
        own, spec = self.settings, checkpoint.spec
        net = checkpoint.net.eval()
        samples = draw_samples(data, images=own.images, seed=own.seed)
        links = equalize(net, image_batches(samples, spec=spec), size=job.size, balance=own.balance)
        if own.share_input_normalization:
            spec = share_normalisation(net, spec=spec)
        return Changed(net=net, spec=spec, account={"links": encode_record(links)})
