"""The stage `prune`: whole channels removed until a budget holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.layer_names import check_layers
from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.channel_selection import Scope
from edgeseg.compress.prune.importance import Importance
from edgeseg.compress.prune.pruner import Measure, Pruned, prune
from edgeseg.compress.training_batches import draw_samples, labelled_batches, objective
from edgeseg.core.files import read_json, sha256_of
from edgeseg.core.latency import LatencyTable
from edgeseg.core.records import encode
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job, LatencyProbe
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint

TIMES_FILE = "layer_times.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSettings(ImageSample):
    """Structured pruning to a budget: the share of MACs or of parameters that stays, or milliseconds; exactly one.

    See `edgeseg.compress.prune.pruner` for what each setting means. Batch-norm statistics are taken again on the
    images; Taylor importance uses them with the stage's loss.
    """

    macs: float | None = None
    parameters: float | None = None
    ms: float | None = None
    importance: Importance = "magnitude"
    scope: Scope = "global"
    round_to: int = 8
    target: str = ""
    """A device whose kernels' channel multiple is used instead of `round_to`."""
    keep: tuple[str, ...] = ()
    floor: float = 0.25
    steer: float | None = None
    passes: int = 1
    engine: str = ""
    """The engine that is timed: layer by layer to choose channels, and, for a budget in ms, the whole net."""
    threads: int = 1
    table: str = ""
    """The layers' times (JSON), measured before on the same engine; without it the stage measures them."""

    def __post_init__(self) -> None:
        shares = [share for share in (self.macs, self.parameters) if share is not None]
        if len(shares) + (self.ms is not None) != 1 or not all(0 < share <= 1 for share in shares):
            raise ValueError("give exactly one of macs and parameters, the share that stays (above 0 to 1), and ms.")
        if (self.ms is not None and self.ms <= 0) or self.threads < 1:
            raise ValueError("ms must be above 0, threads 1 or more.")
        if not self.engine and (self.ms is not None or self.table):
            raise ValueError('ms and table need the engine that they are measured on, for example "onnxruntime".')
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class PruneStage(ChangeStage):
    """Removes whole channels; the layers' widths are known only once it has run."""

    name: ClassVar[str] = "prune"
    does: ClassVar[str] = "remove whole channels: a dense, narrower net"
    tables: ClassVar[tuple[str, ...]] = ("loss",)
    without_effect: ClassVar[tuple[str, ...]] = ("table",)

    settings: PruneSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` with its widths pending; raises for a layer, target or table that cannot be used."""
        check_layers(self.settings.keep, coming.net)
        self._round_to()
        self._stored_table()
        return dataclasses.replace(coming, pending=coming.pending | {"channels"})

    def inputs(self) -> dict[str, str]:
        """Return the hash of the latency table and the target's channel multiple, where they are named."""
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
            InputError: a budget that cannot be met, or an engine that nothing here can time.
            MissingDependency: torch-pruning is not installed.
        """
        pruned = self._pruned(checkpoint, data=data, probe=job.probe, times=job.folder / TIMES_FILE)
        account: dict[str, object] = {"groups": encode(pruned.groups)}
        if pruned.after_ms is not None:
            account["times"] = {"before_ms": pruned.before_ms, "after_ms": pruned.after_ms}
        return Changed(net=pruned.net, spec=pruned.spec, account=account)

    def _pruned(
        self, checkpoint: Checkpoint, *, data: Dataset, probe: LatencyProbe | None, times: Path | None = None
    ) -> Pruned:
        """Return what the stage makes of a checkpoint; the layers' times are kept in the file `times`."""
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
            steer=own.steer,
            passes=own.passes,
        )

    def _round_to(self) -> int:
        """Return the multiple that channel counts stay at: the target's, where one is named."""
        if not self.settings.target:
            return self.settings.round_to
        from edgeseg.targets import find_target

        return find_target(self.settings.target).channel_multiple

    def _stored_table(self) -> LatencyTable | None:
        """Return the latency table that the settings name; raises `InputError` if it is of another engine."""
        own = self.settings
        if not own.table:
            return None
        found = read_json(LatencyTable, Path(own.table))
        if (found.engine, found.threads) != (own.engine, own.threads):
            raise InputError(
                f"{own.table}: holds times of {found.engine} on {found.threads} threads; the stage names "
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
