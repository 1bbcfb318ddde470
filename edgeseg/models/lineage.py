"""A checkpoint's lineage: its own lineage.json, or as follows from its training.json and bundled parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.files import read_json, write_json
from edgeseg.core.lineage import LINEAGE_FILE, LINEAGE_SCHEMA, DataUse, LineageRecord, LineageStep
from edgeseg.errors import CheckpointError, RecipeError
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.models.resolve import bundled, resolve_model

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import ModelSpec

# The name of edgeseg train's step; every other stage compresses.
TRAINED = ("train",)


def read_lineage(path: Path) -> tuple[LineageStep, ...]:
    """Return the steps that made the checkpoint at `path` (its folder or weights file), oldest first.

    A checkpoint from `edgeseg train` has one step, after those of the bundled checkpoint that it started from, if any.

    Raises:
        InputError: no such checkpoint.
        CheckpointError: a lineage that violates its schema, or of other weights.
    """
    folder = path if path.is_dir() else path.parent
    spec = read_spec(folder)
    file = folder / LINEAGE_FILE
    if not file.is_file():
        return _from_training(folder, spec)
    try:
        steps = read_json(LineageRecord, file).steps
    except RecipeError as error:
        raise CheckpointError(f"{file}: damaged: {error}") from error
    if not steps or steps[-1].weights_sha256 != spec.weights_sha256:
        raise CheckpointError(f"{file}: belongs to other weights than {folder}. Copy the whole checkpoint again.")
    return steps


def write_lineage(folder: Path, steps: tuple[LineageStep, ...]) -> None:
    """Write a checkpoint's lineage beside its weights."""
    write_json(LineageRecord(schema=LINEAGE_SCHEMA, steps=steps), folder / LINEAGE_FILE)


def original_of(path: Path) -> str | None:
    """Return the bundled checkpoint that the one at `path` was compressed from, or None.

    Raises as `read_lineage`.
    """
    steps = read_lineage(path)
    first = next((step for step in steps if step.stage not in TRAINED), None)
    if first is None:
        return None
    named = (name for name in bundled() if read_spec(resolve_model(name)).weights_sha256 == first.parent_sha256)
    return next(named, None)


def data_uses(account: object) -> tuple[DataUse, ...]:
    """Return the images that the `data` of a training.json names: train, then val."""
    tables = [account[key] for key in ("train", "val") if key in account] if isinstance(account, dict) else []
    return tuple(
        DataUse(
            name=str(table.get("name", "")),
            split=str(table.get("split", "")),
            images=int(table.get("images", 0)),
            licence=str(table.get("licence", "")),
            sha256=str(table.get("sha256", "")),
        )
        for table in tables
        if isinstance(table, dict)
    )


def _from_training(folder: Path, spec: ModelSpec) -> tuple[LineageStep, ...]:
    training = read_training(folder)
    if not training:
        return ()
    start, seed, scores = training.get("start"), training.get("seed"), training.get("val")
    start = start if isinstance(start, dict) else {}
    sha256 = str(start.get("sha256", ""))
    step = LineageStep(
        stage="train",
        checkpoint=spec.name,
        weights_sha256=spec.weights_sha256,
        parent=str(start.get("checkpoint") or start.get("encoder") or ""),
        parent_sha256=sha256,
        recipe=str(training.get("recipe", "")),
        settings={},
        data=data_uses(training.get("data")),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        metrics=_numbers({"val_miou": scores.get("miou") if isinstance(scores, dict) else None, **_counts(training)}),
        command=str(training.get("command", "")),
    )
    return (*_bundled_parent(sha256), step)


def _bundled_parent(sha256: str) -> tuple[LineageStep, ...]:
    for name in bundled() if sha256 else ():
        folder = resolve_model(name)
        spec = read_spec(folder)
        if spec.weights_sha256 == sha256:
            return _from_training(folder, spec)
    return ()


def _counts(training: dict[str, object]) -> dict[str, object]:
    return {key: training.get(key) for key in ("best_epoch", "epochs", "seconds")}


def _numbers(found: dict[str, object]) -> dict[str, float]:
    numbers = {key: value for key, value in found.items() if isinstance(value, (int, float))}
    return {key: float(value) for key, value in numbers.items()}
