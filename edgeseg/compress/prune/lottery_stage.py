"""The stage `lottery`: keeps single weights at zero and trains the others from their earlier values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.prune.sparsify_stage import SparsifySettings, SparsifyStage
from edgeseg.errors import InputError
from edgeseg.graph.quantization_points import is_below
from edgeseg.models import resolve_model
from edgeseg.models.checkpoint import read_spec

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job
    from edgeseg.core.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LotterySettings(SparsifySettings):
    """As `SparsifySettings`; `rewind` is the checkpoint from which the stage's parent was trained."""

    rewind: str


@dataclass(frozen=True, kw_only=True)
class LotteryStage(SparsifyStage):
    """Drops the smallest weights of its parent and trains the others from their values in `rewind`."""

    name: ClassVar[str] = "lottery"
    does: ClassVar[str] = "zero single weights, train the rest from before; no faster"

    settings: LotterySettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises `InputError` if the checkpoint to rewind to belongs to another net."""
        name = self.settings.rewind
        if not _is_of(read_spec(resolve_model(name)), coming):
            raise InputError(
                f'rewind = "{name}": is of another architecture, of other widths or with other gates than the net that '
                "comes to the lottery stage. Give a checkpoint that this net was trained from."
            )
        return super().check(coming)

    def inputs(self) -> dict[str, str]:
        """Return the hash of the weights to rewind to."""
        return {f"rewind {self.settings.rewind}": read_spec(resolve_model(self.settings.rewind)).weights_sha256}

    def start(self, job: Job) -> str:
        """Return the checkpoint to rewind to."""
        return self.settings.rewind


def _is_of(found: ModelSpec, coming: Coming) -> bool:
    """Return whether a checkpoint can belong to the net that reaches a stage."""
    spec = coming.spec
    # Pending fields will change: the checkpoint may have neither the values from before nor the architecture's own.
    if "bypassed" in coming.pending:
        same_gates = found.bypassed not in ((), spec.bypassed)
        widths = tuple(layer for layer in spec.channels if not is_below(layer.name, found.bypassed))
    else:
        same_gates, widths = found.bypassed == spec.bypassed, spec.channels
    fits = found.channels not in ((), widths) if "channels" in coming.pending else found.channels == widths
    return found.architecture == spec.architecture and same_gates and fits
