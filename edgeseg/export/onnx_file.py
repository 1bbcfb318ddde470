"""The ONNX file of an exported program."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

from edgeseg.core.requirements import require_modules
from edgeseg.core.silence import quiet_loggers
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch.export import ExportedProgram

    from edgeseg.core.spec import TensorSpec

OPSET = 20


def write_onnx(program: ExportedProgram, path: Path, *, image: TensorSpec, answer: TensorSpec) -> None:
    """Write the program as one ONNX file (opset 20) with weights inside; input and output are named as in the specs.

    Raises:
        MissingDependency: onnx or onnxscript is not installed.
        ConversionError: torch's exporter failed, with its message.
    """
    import torch

    _check()
    with _quiet():
        try:
            torch.onnx.export(
                program,
                f=str(path),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[image.name],
                output_names=[answer.name],
                verbose=False,
            )
        except Exception as error:  # the exporter raises its own errors, torch's and Python's
            raise ConversionError(f"ONNX export failed: {type(error).__name__}: {error}") from error
    _fix_resizes(path)


def _fix_resizes(path: Path) -> None:
    import onnx

    from edgeseg.export.resize_sizes import resize_by_sizes

    model = onnx.load(path)
    resize_by_sizes(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Each export logs every torchvision operator as missing; nothing here uses torchvision.
    with quiet_loggers("torch.onnx._internal.exporter._registration"), warnings.catch_warnings():
        # The exporter calls deprecated functions of torch; users cannot fix that.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch|onnxscript|copyreg")
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch|onnxscript|copyreg")
        yield


def _check() -> None:
    require_modules(("onnx", "onnxscript"), what="Writing ONNX", extra="convert-onnx")
