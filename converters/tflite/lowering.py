"""The exported program to a TFLite flatbuffer, through litert-torch, silenced."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from edgeseg.core.silence import native_output, quiet_loggers
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

_log = logging.getLogger(__name__)

# torchao looks for kernels of other machines; torch's pytree announces deprecations.
_TALKATIVE = ("torchao", "torch.utils._pytree")


def lower(program: object, *, shape: tuple[int, ...], int8: bool, dtype: str = "uint8") -> bytes:
    """Return the flatbuffer of a program that takes a tensor of `shape` and `dtype`, channels last throughout.

    Raises:
        ConversionError: litert-torch failed, with its message.
    """
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        import litert_torch
        import torch
        from litert_torch._config import config as settings
        from litert_torch.quantize.quant_config import QuantConfig

        # The converter only asks a PT2E quantizer whether activations are dynamic: the graph has the pairs.
        static = SimpleNamespace(global_config=SimpleNamespace(is_dynamic=False))
        settings.show_progress = False  # it prints to stdout
        config = QuantConfig(pt2e_quantizer=static) if int8 else None
        path = Path(folder) / "model.tflite"
        try:
            module = cast("ExportedProgram", program).module()
            for part in module.modules():
                part.training = False  # an exported graph has no other mode, but its flag says so
            example = (torch.zeros(shape, dtype=getattr(torch, dtype)),)
            litert_torch.convert(module, example, quant_config=config).export(str(path))
        except Exception as error:
            raise ConversionError(f"litert-torch failed: {type(error).__name__}: {error}") from error
        return path.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    said = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            native_output(_log),
            contextlib.redirect_stdout(said),
            quiet_loggers(*_TALKATIVE),
        ):
            # torch's and jax's deprecations inside litert-torch: nothing that a user could fix.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        if said.getvalue():
            _log.debug("litert-torch: %s", said.getvalue().strip())
