"""The `Stage` contract: what the pipeline asks of a stage, and what it gives to it.

A stage is a class behind an entry point of the group `edgeseg.stages`; the entry point's name is the stage's `kind` in
a recipe. The pipeline knows no stage by name. Most stages start from `edgeseg.compress.pipeline.training_stage` (it
trains) or `edgeseg.compress.pipeline.change_stage` (it changes the net in one go).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_type_hints

from edgeseg.compress.pipeline.tables import TrainingTables
from edgeseg.core.latency import LatencyTable
from edgeseg.core.spec import ModelSpec
from edgeseg.models import Checkpoint
from edgeseg.train.events import OnEvent
from edgeseg.train.recipe import DataRecipe

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.data import Dataset


CHECKPOINT = "checkpoint"
"""Name of the checkpoint folder inside a stage's or a pipeline's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProbe:
    """How a stage measures time on an engine; passed in by code that may open engines.

    `table` takes (checkpoint, engine, threads, file to keep the times in or None), `net` the first three; times are in
    milliseconds.
    """

    table: Callable[[Checkpoint, str, int, Path | None], LatencyTable]
    net: Callable[[Checkpoint, str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What will reach a stage, as far as is known before any stage has run.

    `net` has the layers of that net and must not be changed. `pending` names fields of `spec` that earlier stages
    change in a way that shows only when they run: until then `spec` holds the values from before.
    """

    net: nn.Module
    spec: ModelSpec
    images: int
    """Training images."""
    pending: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """Something that a stage leaves in a checkpoint and that later stages can destroy.

    Stages that leave the same have the same `name` here. `lost_by` says which later stages destroy it: those that
    train, or any. `how` completes the sentence '"prune" after "qat" ...'.
    """

    name: str
    lost_by: Literal["training", "any"]
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The work of one stage: the checkpoint folder to start from, the folder to fill, and what the recipe says.

    The stage writes its result to `folder / "checkpoint"`. `result` is the name that the recipe gives to its result;
    `size` is (height, width) in pixels; an empty `licence` or `notice` is taken from the parent and the data.
    """

    result: str
    data: DataRecipe
    parent: Path
    folder: Path
    size: tuple[int, int]
    command: str = ""
    licence: str = ""
    notice: str = ""
    accelerator: str = "auto"
    on_event: OnEvent | None = None
    probe: LatencyProbe | None = None

    @property
    def checkpoint(self) -> Path:
        """The folder that the stage's result goes to."""
        return self.folder / CHECKPOINT


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One stage of a recipe: its settings and how it trains.

    A subclass annotates `settings` with a frozen dataclass; its fields are the keys of the stage's table in a recipe.
    """

    name: ClassVar[str]
    """The entry point's name: the stage's `kind` in a recipe."""
    does: ClassVar[str]
    """What the stage does, in one short line."""
    trains: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ()
    """The training tables that the stage's table may hold."""
    without_effect: ClassVar[tuple[str, ...]] = ()
    """Settings (`cache`, `distill.cache`) that do not influence the weights, so that a resumed run may change them."""
    leaves: ClassVar[tuple[Leaves, ...]] = ()

    settings: object
    training: TrainingTables = field(default_factory=TrainingTables)

    @classmethod
    def settings_type(cls) -> type:
        """Return the dataclass of the stage's settings."""
        found: type = get_type_hints(cls)["settings"]
        return found

    @property
    def seed(self) -> int | None:
        """The seed of the stage's random choices; None if it makes none."""
        return None

    def check(self, coming: Coming) -> Coming:
        """Return what the next stage will find, after every check that is quick.

        Raises:
            EdgesegError: settings that cannot work on `coming`.
        """
        return coming

    def inputs(self) -> dict[str, str]:
        """Return the hash of everything the stage reads besides its parent and the data, by name.

        A file or checkpoint can change under its name; a resumed run compares these.

        Raises:
            EdgesegError: a file or checkpoint that does not exist.
        """
        return {}

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the checkpoint with its net as the stage leaves it, untrained, for the costs in a dry run.

        `coming` is not changed, and nothing is written. `data` is the training split.

        Raises:
            EdgesegError: as `run`, as far as that shows without training.
        """
        return coming

    @abstractmethod
    def run(self, job: Job) -> None:
        """Write the stage's checkpoint to `job.checkpoint`, or finish what an interrupted run began in `job.folder`.

        Raises:
            EdgesegError: settings, data or a checkpoint that cannot be used.
        """
