"""Checkpoints: a folder with `weights.safetensors`, `spec.json` and, where known, `training.json` and `ranges.json`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from edgeseg.core.files import new_folder, read_json, read_json_value, sha256_of, write_json
from edgeseg.core.quantization import RANGES_FILE, Ranges, read_ranges
from edgeseg.core.spec import ModelSpec
from edgeseg.errors import CheckpointError, InputError, RecipeError
from edgeseg.models.build import build_spec
from edgeseg.models.dry_run import check_logits
from edgeseg.models.factory import is_factory
from edgeseg.models.resolve import MODEL_SPEC_FILE, bundled, resolve_model
from edgeseg.models.state_dict import load_weights
from edgeseg.models.surgery import without_aux

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = [
    "Checkpoint",
    "bundled",
    "load_checkpoint",
    "read_spec",
    "read_training",
    "resolve_model",
    "save_checkpoint",
]

WEIGHTS_FILE = "weights.safetensors"
TRAINING_FILE = "training.json"
PROOF_FOLDER = "proof"
"""A checkpoint's folder for held-out images (PNG or JPEG) of the kind it was trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trained net in evaluation mode, without auxiliary heads, with its spec and the folder it came from."""

    spec: ModelSpec
    net: nn.Module
    folder: Path


def save_checkpoint(
    folder: Path,
    *,
    net: nn.Module,
    spec: ModelSpec,
    training: Mapping[str, object] | None = None,
    ranges: Ranges | None = None,
    half: bool = False,
) -> ModelSpec:
    """Write a checkpoint folder atomically, and return the spec with the SHA-256 of the weights filled in.

    Auxiliary heads are left out. `training` (command, seed, seconds, scores: JSON values) and `ranges` (which then
    belong to these weights) are stored beside the spec. With `half`, tensors of more than one dimension are float16.

    Raises:
        InputError: the folder exists, and edgeseg did not make it.
        OSError: it cannot be written; an earlier checkpoint there is kept.
    """
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in without_aux(net).state_dict().items()}
    if half:
        state = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    with new_folder(folder) as partial:
        (partial / WEIGHTS_FILE).write_bytes(save(state))  # its own writer hides a full disk's OSError
        complete = dataclasses.replace(spec, weights_sha256=sha256_of(partial / WEIGHTS_FILE))
        write_json(complete, partial / MODEL_SPEC_FILE)
        if training is not None:
            write_json(dict(training), partial / TRAINING_FILE)
        if ranges is not None:
            write_json(dataclasses.replace(ranges, weights_sha256=complete.weights_sha256), partial / RANGES_FILE)
    return complete


def read_spec(path: Path) -> ModelSpec:
    """Return the spec of the checkpoint at `path` (its folder or its weights file), without reading the weights.

    Raises:
        InputError: no such checkpoint.
        CheckpointError: a spec that does not follow its schema.
    """
    folder = _folder(path)
    try:
        return read_json(ModelSpec, folder / MODEL_SPEC_FILE)
    except RecipeError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def read_training(path: Path) -> dict[str, object]:
    """Return the checkpoint's training.json as a table, empty if it has none.

    Raises:
        CheckpointError: the file exists but is not a JSON table.
    """
    file = _folder(path) / TRAINING_FILE
    if not file.is_file():
        return {}
    try:
        data = read_json_value(file)
    except RecipeError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file}: must be a JSON table.")
    return data


def stored_ranges(path: Path, *, weights_sha256: str) -> Ranges | None:
    """Return the ranges beside the checkpoint at `path` (its folder or its weights file) if they are these weights'.

    Raises:
        CheckpointError: ranges that do not follow their schema.
    """
    file = (path if path.is_dir() or not path.exists() else path.parent) / RANGES_FILE
    ranges = read_ranges(file) if file.is_file() else None
    return ranges if ranges is not None and ranges.weights_sha256 == weights_sha256 else None


def load_checkpoint(path: str | Path, *, size: tuple[int, int] | None = None) -> Checkpoint:
    """Return the checkpoint at `path`, its folder or its weights file, checked against its spec.

    `size` (height, width) builds the net for another input size, which is then the returned spec's.

    Raises:
        InputError: no such checkpoint, or a size that the architecture does not support.
        CheckpointError: weights that are missing, truncated, altered since they were saved, or of another net.
        UnknownName: the spec names an architecture that is not registered.
        UnsupportedError: the spec names a factory that is not trusted, see `edgeseg.models.factory`.
    """
    path = Path(path)
    folder, spec = _folder(path), read_spec(path)
    weights = folder / WEIGHTS_FILE if path.is_dir() else path
    state = _read_weights(weights, expected_sha256=spec.weights_sha256)
    spec = spec if size is None else at_size(spec, size=size)
    net = build_spec(spec)
    load_weights(
        net,
        state,
        source=str(weights),
        advice=f"Check architecture, classes, channels, bypassed and rewrites in {MODEL_SPEC_FILE}.",
    )
    if is_factory(spec.architecture):
        check_logits(net, spec=spec)
    return Checkpoint(spec=spec, net=net.eval(), folder=folder)


def at_size(spec: ModelSpec, *, size: tuple[int, int]) -> ModelSpec:
    """Return spec with its input at `size` (height, width) and its outputs at that size over the output stride."""
    cells = (size[0] // spec.output_stride, size[1] // spec.output_stride)
    inputs = tuple(dataclasses.replace(item, shape=(*item.shape[:2], *size)) for item in spec.inputs)
    outputs = tuple(dataclasses.replace(item, shape=(*item.shape[:2], *cells)) for item in spec.outputs)
    return dataclasses.replace(spec, inputs=inputs, outputs=outputs)


def _folder(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint folder or weights file.")
    folder = path if path.is_dir() else path.parent
    if not (folder / MODEL_SPEC_FILE).is_file():
        raise InputError(
            f"{folder}: no {MODEL_SPEC_FILE} there. "
            f"A checkpoint is a folder of {WEIGHTS_FILE} and {MODEL_SPEC_FILE}; weights "
            "alone need their net: package.module:factory --weights FILE --spec spec.toml."
        )
    return folder


def _read_weights(weights: Path, *, expected_sha256: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not weights.is_file():
        raise CheckpointError(f"{weights}: the weights are missing. Copy the whole checkpoint folder again.")
    try:
        state = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{weights}: cut off or not a safetensors file ({error}). Copy it again.") from error
    found = sha256_of(weights)
    if found != expected_sha256:
        raise CheckpointError(
            f"{weights}: SHA-256 is {found[:12]}..., "
            f"{MODEL_SPEC_FILE} says {expected_sha256[:12] or 'nothing'}...: the file "
            "was altered or belongs to another checkpoint. Copy the whole folder again."
        )
    return state
