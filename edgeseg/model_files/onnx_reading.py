"""An ONNX file as its protobuf message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.requirements import require_modules
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def read_onnx(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Return the message of an ONNX file; without `weights` those stored in other files are not read.

    Raises:
        InputError: not an ONNX file, damaged, or without its file of weights.
        MissingDependency: onnx is not installed.
    """
    require_modules(("onnx",), what="Reading an ONNX file", extra="convert-onnx")
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=weights)
    except FileNotFoundError as error:
        missing = path if error.filename is None else error.filename
        raise InputError(f"{missing}: no such file, or the weights of {path.name} are missing beside it.") from None
    except Exception as error:  # protobuf's errors differ between its versions
        raise InputError(f"{path}: cannot be read as ONNX: {' '.join(str(error).split())[:200]}") from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: not an ONNX file with a graph. Export it again.")
    return model
