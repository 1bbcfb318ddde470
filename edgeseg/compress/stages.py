"""The kinds of stages that a compression recipe may list: `STAGES`, each with its settings and what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.compress.pipeline.recipe import PipelineRecipe, StageRecipe
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.core.latency import LatencyTable
from edgeseg.core.records import renamed
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import RecipeError
from edgeseg.models import Checkpoint
from edgeseg.train.events import OnEvent
from edgeseg.train.method import Method

TABLES = ("augment", "loss", "optimizer", "schedule", "run")
"""The tables of a training recipe that a stage which trains may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How pruning learns what things cost on an engine; given by whoever may open engines.

    `table` takes (checkpoint, engine, threads, file to keep the times in or None), `net` the first three; times are in
    milliseconds.
    """

    table: Callable[[Checkpoint, str, int, Path | None], LatencyTable]
    net: Callable[[Checkpoint, str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage at work: its recipe, the checkpoint folder that it starts from, and the folder that it fills."""

    pipeline: PipelineRecipe
    stage: StageRecipe
    number: int
    parent: Path
    folder: Path
    size: tuple[int, int]
    command: str
    accelerator: str = "auto"
    on_event: OnEvent | None = None
    clock: Clock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A stage that changes a net at once, going by `images` training images, drawn by `seed`."""

    images: int = field(default=64, metadata=renamed("pictures"))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 2 or self.seed < 0:
            raise ValueError("images is 2 or more, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneStage(Change):
    """Structured pruning to a budget, exactly one of: the share of MACs or of parameters that stays, or milliseconds.

    See `edgeseg.compress.prune.pruner` for what each means. Batch norm's statistics are taken again on the images;
    Taylor importance takes them with the stage's loss.
    """

    macs: float | None = None
    parameters: float | None = None
    ms: float | None = None
    importance: str = "magnitude"
    scope: str = "global"
    round_to: int = 8
    target: str = ""
    """A device whose kernels' channel multiple stands in for `round_to`."""
    keep: tuple[str, ...] = ()
    floor: float = 0.25
    steer: float | None = None
    passes: int = 1
    engine: str = ""
    """Where time is taken: the layers' one by one to choose what goes, and, for a budget in ms, the whole net's."""
    threads: int = 1
    table: str = ""
    """The layers' times (JSON), taken before on the same engine; without it they are taken by the stage."""

    def __post_init__(self) -> None:
        shares = [share for share in (self.macs, self.parameters) if share is not None]
        if len(shares) + (self.ms is not None) != 1 or not all(0 < share <= 1 for share in shares):
            raise ValueError("give exactly one of macs and parameters, the share that stays (above 0 to 1), and ms.")
        if (self.ms is not None and self.ms <= 0) or self.threads < 1:
            raise ValueError("ms is above 0, threads 1 or more.")
        if not self.engine and (self.ms is not None or self.table):
            raise ValueError('ms and table need the engine that they are measured on, for example "onnxruntime".')
        Change.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualizeStage(Change):
    """Cross-layer equalization: the same answers, from channels that int8 rounds more alike; see
    `edgeseg.compress.quantize.cross_layer_equalization`.

    With `image`, the image's three channels are among them: see `edgeseg.compress.quantize.shared_input_normalization`.
    """

    balance: float = 0.5
    image: bool = field(default=False, metadata=renamed("picture"))

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ValueError("balance is 0 to 1.")
        Change.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapStage(Change):
    """The same layers in another architecture, which differs in what has no weights: activations, mostly.

    Batch norm's statistics are taken again; the score falls and comes back in the training that follows.
    """

    architecture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesStage(Change):
    """Squeeze-and-excite gates that hardly vary, but for those in the modules `keep`, become weights, while `agreement`
    of the labels stay.

    See `edgeseg.compress.surgery.fold_se_gates`.
    """

    agreement: float = 0.99
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.agreement <= 1:
            raise ValueError("agreement is the share of labels that stay, above 0 to 1.")
        Change.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class QatStage(QatRecipe):
    """Quantization-aware training, with teachers where `distill` names them."""

    distill: DistillRecipe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """Training by labels alone: nothing to set beside the training tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsifyStage:
    """Single weights held at zero while the rest trains; see `edgeseg.compress.prune.sparsity`. Not faster anywhere."""

    sparsity: float
    scope: Literal["global", "layer"] = "global"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError("sparsity is the share of weights that become zero, above 0 to below 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LotteryStage(SparsifyStage):
    """The same, from the weights of `rewind`: the checkpoint that the stage's parent was once trained from."""

    rewind: str


Settings = (
    PruneStage
    | SwapStage
    | GatesStage
    | EqualizeStage
    | FineTune
    | DistillRecipe
    | QatStage
    | SparsifyStage
    | LotteryStage
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKind:
    """One kind of stage: it either trains, in its own way, or changes the net at once and writes the checkpoint."""

    name: str
    settings: type
    does: str
    tables: tuple[str, ...] = TABLES
    method: Callable[[Job], Method] | None = None
    change: Callable[[Job], None] | None = None

    @property
    def trains(self) -> bool:
        """Whether the stage has a schedule."""
        return self.method is not None


def _fine_tune(job: Job) -> Method:
    from edgeseg.train.method import Method

    return Method()


def _distill(job: Job) -> Method:
    from edgeseg.compress.distill.method import Distill

    settings = job.stage.settings
    assert isinstance(settings, DistillRecipe)
    return Distill(settings)


def _qat(job: Job) -> Method:
    from edgeseg.compress.distill.method import Distill
    from edgeseg.compress.quantize.qat import Qat

    settings = job.stage.settings
    assert isinstance(settings, QatStage)
    own = Qat(settings)
    return own if settings.distill is None else Distill(settings.distill, student=own)


def _masked(job: Job) -> Method:
    from edgeseg.compress.prune.sparsity import MaskedTraining

    settings = job.stage.settings
    assert isinstance(settings, SparsifyStage)
    scope: Literal["global", "layer"] = settings.scope
    return MaskedTraining(str(job.parent), sparsity=settings.sparsity, scope=scope, keep=settings.keep)


def teaching(settings: Settings) -> DistillRecipe | None:
    """Return the settings of the teachers that a stage listens to, or None."""
    return settings if isinstance(settings, DistillRecipe) else getattr(settings, "distill", None)


def _prune(job: Job) -> None:
    from edgeseg.compress.cutting import prune_stage

    prune_stage(job)


def _swap(job: Job) -> None:
    from edgeseg.compress.cutting import swap_stage

    swap_stage(job)


def _gates(job: Job) -> None:
    from edgeseg.compress.cutting import gates_stage

    gates_stage(job)


def _equalize(job: Job) -> None:
    from edgeseg.compress.cutting import equalize_stage

    equalize_stage(job)


STAGES = (
    StageKind(
        name="prune", settings=PruneStage, does="remove whole channels: a dense, narrower net", tables=("loss",),
        change=_prune,
    ),
    StageKind(name="swap", settings=SwapStage, does="the same layers with other activations", tables=(), change=_swap),
    StageKind(name="gates", settings=GatesStage, does="constant squeeze-and-excite gates become weights", tables=(),
              change=_gates),
    StageKind(name="equalize", settings=EqualizeStage, does="even out channels for int8; same answers", tables=(),
              change=_equalize),
    StageKind(name="finetune", settings=FineTune, does="train on labels", method=_fine_tune),
    StageKind(name="distill", settings=DistillRecipe, does="train on labels and teachers", method=_distill),
    StageKind(name="qat", settings=QatStage, does="train through int8: weights and ranges", method=_qat),
    StageKind(name="sparsify", settings=SparsifyStage, does="zero single weights, train the rest; no faster",
              method=_masked),
    StageKind(name="lottery", settings=LotteryStage, does="zero single weights, train the rest from before; no faster",
              method=_masked),
)  # fmt: skip


def stage_kind(name: str, *, where: str = "kind") -> StageKind:
    """Return the kind called `name`; `where` is the place in the recipe.

    Raises:
        RecipeError: no such kind, with the nearest one.
    """
    kinds = {kind.name: kind for kind in STAGES}
    if name not in kinds:
        raise RecipeError(f'{where}: unknown stage "{name}".{suggestion(name, kinds)} Known: {", ".join(kinds)}.')
    return kinds[name]
