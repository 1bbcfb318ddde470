"""The exported program to the bytes of a .pte file, through ExecuTorch, silenced."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, cast

from edgeseg.core.silence import native_output, quiet_loggers
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

_log = logging.getLogger(__name__)

# torchao looks for kernels of other machines; torch's pytree announces deprecations.
_TALKATIVE = ("torchao", "torch.utils._pytree", "executorch")


def lower(program: object) -> bytes:
    """Return the .pte file of a program: what XNNPACK supports is delegated, the rest runs on portable kernels.

    Raises:
        ConversionError: ExecuTorch failed, with its message.
    """
    with quiet_executorch():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            edge = to_edge_transform_and_lower(cast("ExportedProgram", program), partitioner=[XnnpackPartitioner()])
            return bytes(edge.to_executorch().buffer)
        except Exception as error:
            words = " ".join(str(error).split())
            raise ConversionError(f"ExecuTorch failed: {type(error).__name__}: {words[:500]}") from error


@contextlib.contextmanager
def quiet_executorch() -> Iterator[None]:
    """Silence ExecuTorch's output and warnings, and remove its log handler."""
    before = list(logging.root.handlers)
    try:
        with warnings.catch_warnings(), native_output(_log), quiet_loggers(*_TALKATIVE):
            # torch's and importlib's deprecations inside ExecuTorch: nothing that a user could fix.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        # Importing the partitioner calls logging.basicConfig, which only an application should do.
        for handler in [item for item in logging.root.handlers if item not in before]:
            logging.root.removeHandler(handler)
