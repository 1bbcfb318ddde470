"""From a path to the description of the model file there, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion
from edgeseg.deploy.foreign.coreml_file import describe_coreml
from edgeseg.deploy.foreign.openvino_file import describe_openvino
from edgeseg.deploy.foreign.tflite_file import describe_tflite
from edgeseg.errors import InputError
from edgeseg.model_files.onnx_file import describe_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.model_files.description import FileDescription

READERS: dict[str, Callable[[Path], FileDescription]] = {
    ".onnx": describe_onnx,
    ".tflite": describe_tflite,
    ".xml": describe_openvino,
    ".mlpackage": describe_coreml,
}
"""Readers of model files by the ending of their names."""


def describe_file(path: str | Path) -> FileDescription:
    """Return what a model file says of itself: format, tensors, ops and arithmetic. Nothing is run.

    Raises:
        InputError: no such file, another kind of file, or a damaged one.
        MissingDependency: the library that reads the format is not installed.
        UnsupportedError: a Core ML model that is not an ML program.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in READERS:
        near = "" if suffix == ".toml" or not path.exists() else suggestion(suffix, READERS)
        missing = "" if path.exists() else "no such file; "
        raise InputError(
            f"{path}: {missing}a model file ends in {', '.join(READERS)}.{near} "
            "PyTorch weights go to edgeseg convert package.module:factory --weights FILE."
        )
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    if path.is_dir() != (suffix == ".mlpackage"):
        raise InputError(f"{path}: is a {'folder' if path.is_dir() else 'file'}, which {suffix} is not.")
    return READERS[suffix](path)
