"""The end of a pipeline: writes the last stage's checkpoint, with activation ranges, as the result."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

from edgeseg.core.files import new_folder, write_json
from edgeseg.core.quantization import RANGES_FILE, Ranges
from edgeseg.errors import CheckpointError
from edgeseg.models import load_checkpoint
from edgeseg.models.checkpoint import PROOF_FOLDER, read_spec, stored_ranges
from edgeseg.train.events import Loading, OnEvent

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.compress.pipeline.checks import Start
    from edgeseg.compress.pipeline.schema import PipelineRecipe


def finish(recipe: PipelineRecipe, *, last: Path, start: Start, out: Path, keep: bool, on_event: OnEvent | None) -> str:
    """Write the checkpoint at `last` to `out` with ranges, and return one line about the origin of the ranges.

    Its proof images are those of `last`, else those of the start checkpoint: artifacts are proven on them.
    Ranges trained by the last stage are used unchanged; otherwise they are observed on training images. With `keep` a
    finished `out` is left unchanged.
    """
    spec = read_spec(last)
    found = _ranges_for(out, weights_sha256=spec.weights_sha256) if keep else None
    if found is not None:
        return _summary(found)
    ranges = _ranges_for(last, weights_sha256=spec.weights_sha256)
    if ranges is None:
        ranges = _observed(recipe, last=last, start=start, on_event=on_event)
    with new_folder(out) as folder:
        for path in sorted(last.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                shutil.copy2(path, folder / path.name)
        proof = next((place for place in (last, start.folder) if (place / PROOF_FOLDER).is_dir()), None)
        if proof is not None:
            shutil.copytree(proof / PROOF_FOLDER, folder / PROOF_FOLDER)
        write_json(ranges, folder / RANGES_FILE)
    return _summary(ranges)


def _observed(recipe: PipelineRecipe, *, last: Path, start: Start, on_event: OnEvent | None) -> Ranges:
    from edgeseg.export import calibrate_ranges

    def report(_what: str, done: int, total: int) -> None:
        if on_event is not None:
            on_event(Loading(data="calibration images", done=done, total=total))

    own = recipe.calibration
    done = calibrate_ranges(
        load_checkpoint(last),
        recipe.data.train,
        count=own.count,
        seed=own.seed,
        selection=own.selection,
        observer=own.observer,
        ignore_findings=True,  # the net was trained on these images: their faults are in its weights already
        on_progress=report,
    )
    return dataclasses.replace(done.ranges, float_layers=float_layers_of(recipe, start=start))


def float_layers_of(recipe: PipelineRecipe, *, start: Start) -> tuple[str, ...]:
    """Return the paths of the modules that stay in float: the recipe's, else those in the start checkpoint's ranges."""
    if recipe.calibration.float_layers is not None:
        return recipe.calibration.float_layers
    carried = _ranges_for(start.folder, weights_sha256=start.spec.weights_sha256)
    return carried.float_layers if carried is not None else ()


def _ranges_for(folder: Path, *, weights_sha256: str) -> Ranges | None:
    """Return the ranges in a checkpoint folder if they belong to these weights, else None."""
    try:
        return stored_ranges(folder, weights_sha256=weights_sha256)
    except CheckpointError:
        return None


def _summary(ranges: Ranges) -> str:
    seen = ranges.calibration
    return f"{len(ranges.ranges)} ranges ({ranges.observer}, {len(seen.item_ids)} images of {seen.source} {seen.split})"
