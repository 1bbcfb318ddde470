"""The `Stage` contract between the pipeline and its stages.

A stage is a class registered in the entry-point group `edgeseg.stages`; the entry point's name is the stage's `kind` in
a recipe. The pipeline knows no stage by name. Most stages derive from `edgeseg.compress.pipeline.training_stage` (which
trains) or `edgeseg.compress.pipeline.change_stage` (which changes the net without training).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_type_hints

from edgeseg.compress.pipeline.tables import TrainingTables
from edgeseg.core.latency import LatencyTable
from edgeseg.core.spec import ModelSpec
from edgeseg.models import Checkpoint
from edgeseg.models.resolve import CHECKPOINT_FOLDER
from edgeseg.train.events import OnEvent
from edgeseg.train.recipe import DataRecipe

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProbe:
    """Measures latency on an engine for a stage; passed in by code that may open engines.

    `table` takes (checkpoint, engine, threads, file to store the times in or None), `net` the first three; times are in
    milliseconds.
    """

    table: Callable[[Checkpoint, str, int, Path | None], LatencyTable]
    net: Callable[[Checkpoint, str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """The input of a stage, as far as it is known before any stage has run.

    `net` has the layers of that net and must not be changed. `pending` lists fields of `spec` that earlier stages will
    change; the new values are known only after they run, so `spec` still has the old ones.
    """

    net: nn.Module
    spec: ModelSpec
    images: int
    """The number of training images."""
    pending: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """A property that a stage gives to a checkpoint and that later stages can destroy.

    Stages that give the same property use the same `name`. `lost_by` says which later stages destroy it: those that
    train, or any. `how` completes the sentence '"prune" after "qat" ...'.
    """

    name: str
    lost_by: Literal["training", "any"]
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The job of one stage: the parent checkpoint's folder, the output folder, and the recipe's settings.

    The stage writes its result to `folder / "checkpoint"`. `result` is the name of the recipe's result; `size` is
    (height, width) in pixels; an empty `licence` or `notice` is taken from the parent and the data.
    """

    result: str
    data: DataRecipe
    parent: Path
    folder: Path
    size: tuple[int, int]
    command: str = ""
    licence: str = ""
    notice: str = ""
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    """The hash of the content of the splits, by role ("train", "val")."""
    accelerator: str = "auto"
    on_event: OnEvent | None = None
    probe: LatencyProbe | None = None
    float_layers: tuple[str, ...] = ()
    """Paths of the modules that stay in float in the recipe's result."""

    @property
    def checkpoint(self) -> Path:
        """The folder of the stage's result."""
        return self.folder / CHECKPOINT_FOLDER


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One stage of a recipe: its settings and how it trains.

    A subclass annotates `settings` with a frozen dataclass; its fields are the keys of the stage's table in a recipe.
    """

    name: ClassVar[str]
    """The entry point's name: the stage's `kind` in a recipe."""
    does: ClassVar[str]
    """A one-line description of the stage."""
    trains: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ()
    """The training tables that the stage's table may hold."""
    without_effect: ClassVar[tuple[str, ...]] = ()
    """Settings (`cache`, `distill.cache`) that do not affect the weights, so a resumed run may change them."""
    leaves: ClassVar[tuple[Leaves, ...]] = ()
    keeps: ClassVar[bool] = False
    """Whether the stage destroys nothing that earlier stages leave."""

    settings: object
    training: TrainingTables = field(default_factory=TrainingTables)

    @classmethod
    def settings_type(cls) -> type:
        """Return the dataclass of the stage's settings."""
        found: type = get_type_hints(cls)["settings"]
        return found

    @property
    def seed(self) -> int | None:
        """The seed of the stage's random choices; None if it has none."""
        return None

    def check(self, coming: Coming) -> Coming:
        """Return the input of the next stage, after all quick checks.

        Raises:
            EdgesegError: the settings cannot work on `coming`.
        """
        return coming

    def inputs(self) -> dict[str, str]:
        """Return the hash of everything the stage reads besides its parent and the data, by name.

        Files and checkpoints can change under the same name; a resumed run compares these hashes.

        Raises:
            EdgesegError: a file or checkpoint does not exist.
        """
        return {}

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the checkpoint with the stage's net, untrained, for the costs in a dry run.

        `coming` is not changed, and nothing is written. `data` is the training split.

        Raises:
            EdgesegError: as `run` raises, if it can be detected without training.
        """
        return coming

    @abstractmethod
    def run(self, job: Job) -> None:
        """Write the stage's checkpoint to `job.checkpoint`, continuing an interrupted run in `job.folder`.

        Raises:
            EdgesegError: the settings, the data or a checkpoint cannot be used.
        """
