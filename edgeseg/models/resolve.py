"""Resolves what a user writes (`fast_scnn:camvid`, a path, nothing) to a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from edgeseg.core.suggestions import suggestion
from edgeseg.errors import InputError, UnknownName
from edgeseg.models.architecture import architectures

_BUNDLED = Path(__file__).with_name("bundled")
DEFAULT = "fast_scnn:streets-half"
MODEL_SPEC_FILE = "spec.json"
MODEL_FILES = (".tflite", ".xml", ".mlpackage")
CHECKPOINT_FOLDER = "checkpoint"
"""Name of the checkpoint folder inside the folder of a training run, a stage or a pipeline."""


def bundled() -> tuple[str, ...]:
    """Return the names of the checkpoints that come with the package, sorted: `fast_scnn:camvid`, ..."""
    return tuple(sorted(":".join(spec.parent.name.split("-", 1)) for spec in _BUNDLED.glob(f"*-*/{MODEL_SPEC_FILE}")))


def resolve_model(text: str | None) -> Path:
    """Return the checkpoint folder (or weights file) that `text` names; without text, the bundled default.

    A bare architecture name means its checkpoint trained on synthetic streets, or its only one that is not compressed
    from another (`camvid-half` is, from `camvid`). An existing path wins.

    Raises:
        InputError: a path that does not exist, or an architecture without a bundled checkpoint.
        UnknownName: no such bundled checkpoint, with the nearest one.
    """
    name = text or DEFAULT
    path = Path(name).expanduser()
    if text and ((path.is_file() and path.suffix.lower() not in MODEL_FILES) or (path / MODEL_SPEC_FILE).is_file()):
        return path
    known = bundled()
    # Manifests and records write the name with a hyphen, like the folder.
    if name in known or name.replace("-", ":", 1) in known:
        return _folder(name)
    candidates = [item for item in known if item.split(":")[0] == name]
    if f"{name}:streets" in candidates:
        return _folder(f"{name}:streets")
    whole = [item for item in candidates if not any(item.startswith(f"{other}-") for other in candidates)]
    if len(whole) == 1:
        return _folder(whole[0])
    raise _no_model(name, path, candidates)


def _folder(name: str) -> Path:
    return _BUNDLED / name.replace(":", "-", 1)


def _no_model(name: str, path: Path, candidates: list[str]) -> InputError:
    if candidates:
        return InputError(f'Model "{name}" has several checkpoints: {", ".join(candidates)}. Name one of them.')
    if path.is_dir():
        return InputError(f"{path}: this folder is not a checkpoint: it has no {MODEL_SPEC_FILE}.")
    if path.suffix.lower() in MODEL_FILES and path.exists():
        return InputError(
            f"{path}: only float ONNX files can be converted; make an artifact of this one: edgeseg adopt"
        )
    if path.suffix or "/" in name or "\\" in name:
        return InputError(f"{path}: no such checkpoint folder or weights file.")
    if name in architectures():
        return InputError(f'Model "{name}" comes without trained weights. Train it, or use {_listed()}.')
    near = suggestion(name, [*bundled(), *(item.split(":")[0] for item in bundled()), *architectures()])
    return UnknownName(f'Unknown model "{name}".{near} Known: {_listed()}, or a path to a checkpoint.')


def _listed() -> str:
    return ", ".join(bundled()) or "none bundled"
