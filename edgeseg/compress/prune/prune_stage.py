"""The stage `prune`: whole channels removed until a budget holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.layer_names import check_layers
from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.channel_selection import PruningScope
from edgeseg.compress.prune.importance import Importance
from edgeseg.compress.prune.pruner import Measure, Pruned, prune
from edgeseg.compress.training_batches import draw_samples, labelled_batches, objective
from edgeseg.core.files import read_json, sha256_of
from edgeseg.core.latency import LatencyTable
from edgeseg.core.records import encode_record, renamed
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job, LatencyProbe
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint

TIMES_FILE = "layer_times.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSettings(ImageSample):
    """Structured pruning to a budget: exactly one of the share of MACs or parameters to keep, or milliseconds.

    See `edgeseg.compress.prune.pruner` for the settings. Batch norm statistics are recomputed on the images; Taylor
    importance uses the images with the stage's loss.
    """

    macs: float | None = None
    parameters: float | None = None
    ms: float | None = None
    importance: Importance = "magnitude"
    scope: PruningScope = "global"
    round_to: int = 8
    target: str = ""
    """A device whose kernels' channel multiple is used instead of `round_to`."""
    keep: tuple[str, ...] = ()
    floor: float = 0.25
    latency_weight: float | None = field(default=None, metadata=renamed("steer"))
    passes: int = 1
    engine: str = ""
    """The engine to time: layer by layer to select channels, and the whole net for a budget in ms."""
    threads: int = 1
    table: str = ""
    """Layer times (JSON) measured earlier on the same engine; without it the stage measures them."""

    def __post_init__(self) -> None:
        shares = [share for share in (self.macs, self.parameters) if share is not None]
        if len(shares) + (self.ms is not None) != 1 or not all(0 < share <= 1 for share in shares):
            raise ValueError("give exactly one of macs, parameters (the share to keep, above 0 to 1) and ms.")
        if (self.ms is not None and self.ms <= 0) or self.threads < 1:
            raise ValueError("ms must be above 0, threads 1 or more.")
        if not self.engine and (self.ms is not None or self.table):
            raise ValueError('ms and table need the engine that is measured, for example engine = "onnxruntime".')
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class PruneStage(ChangeStage):
    """Removes whole channels; the layers' widths are known only after the run."""

    name: ClassVar[str] = "prune"
    does: ClassVar[str] = "remove whole channels: a dense, narrower net"
    tables: ClassVar[tuple[str, ...]] = ("loss",)
    without_effect: ClassVar[tuple[str, ...]] = ("table",)

    settings: PruneSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` with pending widths; raises for a layer, target or table that cannot be used."""
        check_layers(self.settings.keep, coming.net)
        self._round_to()
        self._stored_table()
        return dataclasses.replace(coming, pending=coming.pending | {"channels"})

    def inputs(self) -> dict[str, str]:
        """Return the hash of the latency table and the target's channel multiple, if given."""
        own, found = self.settings, {}
        if own.table:
            found["table sha256"] = sha256_of(Path(own.table))
        if own.target:
            found["channel multiple"] = str(self._round_to())
        return found

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the checkpoint with its net pruned for real."""
        pruned = self._pruned(coming, data=data, probe=probe)
        return dataclasses.replace(coming, net=pruned.net, spec=pruned.spec)

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the narrower net, with what each group lost and, for a budget in ms, the times.

        Raises:
            InputError: the budget cannot be met, or the engine cannot be timed on this machine.
            MissingDependency: torch-pruning is not installed.
        """
        pruned = self._pruned(checkpoint, data=data, probe=job.probe, times=job.folder / TIMES_FILE)
        account: dict[str, object] = {"groups": encode_record(pruned.groups)}
        if pruned.after_ms is not None:
            account["times"] = {"before_ms": pruned.before_ms, "after_ms": pruned.after_ms}
        return Changed(net=pruned.net, spec=pruned.spec, account=account)

    def _pruned(
        self, checkpoint: Checkpoint, *, data: Dataset, probe: LatencyProbe | None, times: Path | None = None
    ) -> Pruned:
        """Return the pruned checkpoint; layer times are stored in the file `times`."""
        own = self.settings
        samples = draw_samples(data, images=own.images, seed=own.seed)
        return prune(
            checkpoint,
            budget=Budget(macs=own.macs, parameters=own.parameters, ms=own.ms),
            importance=own.importance,
            scope=own.scope,
            round_to=self._round_to(),
            batches=labelled_batches(samples, spec=checkpoint.spec),
            objective=objective(self.training.loss, samples, spec=checkpoint.spec),
            table=self._table(checkpoint, probe=probe, times=times),
            measure=self._measure(probe),
            keep=own.keep,
            floor=own.floor,
            latency_weight=own.latency_weight,
            passes=own.passes,
        )

    def _round_to(self) -> int:
        """Return the multiple of the remaining channel counts: the target's, if one is named."""
        if not self.settings.target:
            return self.settings.round_to
        from edgeseg.targets import find_target

        return find_target(self.settings.target).channel_multiple

    def _stored_table(self) -> LatencyTable | None:
        """Return the latency table in the settings; raises `InputError` if it belongs to another engine."""
        own = self.settings
        if not own.table:
            return None
        found = read_json(LatencyTable, Path(own.table))
        if (found.engine, found.threads) != (own.engine, own.threads):
            raise InputError(
                f"{own.table}: has times of {found.engine} on {found.threads} threads; the stage uses "
                f"{own.engine} on {own.threads}. Give another table."
            )
        return found

    def _table(self, checkpoint: Checkpoint, *, probe: LatencyProbe | None, times: Path | None) -> LatencyTable | None:
        own = self.settings
        if not own.engine or own.table:
            return self._stored_table()
        return _required(probe).table(checkpoint, own.engine, own.threads, times)

    def _measure(self, probe: LatencyProbe | None) -> Measure | None:
        own = self.settings
        if own.ms is None:
            return None
        timer = _required(probe)
        return lambda checkpoint: timer.net(checkpoint, own.engine, own.threads)


def _required(probe: LatencyProbe | None) -> LatencyProbe:
    if probe is None:
        raise InputError("A prune stage with an engine needs a latency probe. Run the recipe with `edgeseg compress`.")
    return probe
