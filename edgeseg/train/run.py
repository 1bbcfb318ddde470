"""`train`: a recipe in, a checkpoint folder out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.train.events import OnEvent
    from edgeseg.train.method import Method
    from edgeseg.train.output import RunFolder
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.state import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """The checkpoint folder of the best epoch, its mIoU (a fraction) on the validation split, and the duration."""

    checkpoint: Path
    miou: float
    best_epoch: int
    epochs: int
    steps: int
    seconds: float


def train(
    recipe: Recipe,
    *,
    out: Path | str,
    resume: bool = False,
    on_event: OnEvent | None = None,
    command: str = "",
    accelerator: str = "auto",
    method: Method | None = None,
    skip_broken: bool = False,
) -> TrainingResult:
    """Train `recipe`, write everything into the folder `out`, and return the result.

    `out/checkpoint` is the net of the epoch with the best mIoU on the validation split. `resume` continues from
    `out/state.pt`, bit for bit on the same machine. Under torchrun or `fabric run` every process calls this, and the
    first one writes. `command` is stored beside the weights, to reproduce them. `method` is the training method, such
    as distillation. `skip_broken` skips samples that cannot be used, and reports each.

    Raises:
        InputError: `out` is not a run's folder, is in use by another process, or holds a run and `resume` is off.
        DatasetError, RecipeError, CheckpointError: something that the recipe names cannot be used.
        TrainingError: no state to resume from, a state of other data, a loss that is not finite, a full disk, or out
            of memory.
    """
    from edgeseg.train.faults import is_out_of_memory, out_of_memory_error
    from edgeseg.train.method import Method
    from edgeseg.train.output import RunFolder

    out, way = Path(out), method or Method()
    output = RunFolder(out, recipe=recipe, command=command or f"edgeseg train {recipe.name}", method=way)
    output.check(resume=resume)
    progress: list[Position] = []
    try:
        return _train(
            output, resume=resume, skip_broken=skip_broken, on_event=on_event, accelerator=accelerator, begun=progress
        )
    except Exception as error:  # PyTorch and OpenCV raise several types for out of memory
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(recipe, progress=progress[0] if progress else None) from error


def _train(
    output: RunFolder,
    *,
    resume: bool,
    skip_broken: bool,
    on_event: OnEvent | None,
    accelerator: str,
    begun: list[Position],
) -> TrainingResult:
    """Return the result of a run; `begun` receives its position once the parts are ready."""
    from edgeseg.core.atomic import lock
    from edgeseg.models.resolve import CHECKPOINT_FOLDER
    from edgeseg.train.loop import Loop
    from edgeseg.train.setup import open_fabric, set_up
    from edgeseg.train.state import load_state

    recipe, out = output.recipe, output.folder
    fabric = open_fabric(recipe, accelerator=accelerator)
    fabric.launch()
    on_event = on_event if fabric.is_global_zero else None
    out.parent.mkdir(parents=True, exist_ok=True)
    with lock(out) if fabric.is_global_zero else nullcontext():
        state = load_state(out, fingerprint=output.fingerprint) if resume else None
        parts = set_up(recipe, method=output.method, fabric=fabric, skip_broken=skip_broken, on_event=on_event)
        loop = Loop(recipe, fabric=fabric, parts=parts, output=output, on_event=on_event)
        if state is not None:
            output.check_data(state, parts.identities)
            loop.restore(state)
        begun.append(loop.progress)
        if fabric.is_global_zero:
            output.open(epochs_done=loop.progress.epoch, identities=parts.identities)
        try:
            loop.run()
            if fabric.is_global_zero:
                output.finish(seconds=loop.seconds())
        finally:
            output.close()
    progress = loop.progress
    return TrainingResult(
        checkpoint=out / CHECKPOINT_FOLDER,
        miou=progress.best_miou,
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        steps=progress.step,
        seconds=loop.seconds(),
    )
