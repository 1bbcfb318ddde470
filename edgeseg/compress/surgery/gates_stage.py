"""The stage `gates`: folds squeeze-and-excite gates that hardly vary into weights."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.layer_names import check_layers
from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.surgery.fold_se_gates import check_gates, fold_gates
from edgeseg.compress.training_batches import draw_samples, image_batches
from edgeseg.core.records import encode_record
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job, LatencyProbe
    from edgeseg.compress.surgery.fold_se_gates import GateLoss
    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint

PREVIEW_IMAGES = 8
"""A dry run uses at most this many images to decide which gates can be folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesSettings(ImageSample):
    """Gates are folded while the share `agreement` of all labels stays the same, except those in the modules `keep`.

    See `edgeseg.compress.surgery.fold_se_gates`.
    """

    agreement: float = 0.99
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.agreement <= 1:
            raise ValueError("agreement is the share of labels that must stay, above 0 to 1.")
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class GatesStage(ChangeStage):
    """Folds gates that hardly vary; which ones is known only after the run."""

    name: ClassVar[str] = "gates"
    does: ClassVar[str] = "constant squeeze-and-excite gates become weights"

    settings: GatesSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` with pending gates; raises `InputError` if none can be folded."""
        check_layers(self.settings.keep, coming.net)
        check_gates(coming.net, size=coming.spec.size, keep=self.settings.keep)
        return dataclasses.replace(coming, pending=coming.pending | {"bypassed"})

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the checkpoint without the gates that can be folded according to a few images."""
        own = dataclasses.replace(coming, net=copy.deepcopy(coming.net))
        # Without the training of earlier stages there may be no gate that can be folded; only the run decides.
        with contextlib.suppress(InputError):
            spec, _ = self._fold(own, data=data, images=min(self.settings.images, PREVIEW_IMAGES))
            return dataclasses.replace(own, spec=spec)
        return coming

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net without the folded gates, and each gate's loss.

        Raises:
            InputError: no gate can be folded.
        """
        spec, losses = self._fold(checkpoint, data=data, images=self.settings.images)
        return Changed(net=checkpoint.net, spec=spec, account={"losses": encode_record(losses)})

    def _fold(self, checkpoint: Checkpoint, *, data: Dataset, images: int) -> tuple[ModelSpec, tuple[GateLoss, ...]]:
        """Fold gates of the checkpoint's own net, in place, as `fold_gates` does."""
        own = self.settings
        samples = draw_samples(data, images=images, seed=own.seed)
        batches = image_batches(samples, spec=checkpoint.spec)
        return fold_gates(checkpoint.net, batches, spec=checkpoint.spec, agreement=own.agreement, keep=own.keep)
