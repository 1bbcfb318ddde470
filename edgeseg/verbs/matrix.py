"""`edgeseg models --matrix`: converts every net to every format and stores what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core import registry
from edgeseg.core.files import write_whole
from edgeseg.core.suggestions import unknown
from edgeseg.deploy.matrix import fill_matrix
from edgeseg.deploy.matrix_page import matrix_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.deploy.matrix import Cell, Matrix

FORMATS = ("tflite", "onnx", "openvino", "coreml", "executorch")
MATRIX_PRECISIONS = ("fp32", "fp16", "int8")
MATRIX_SIZE = (128, 192)
"""Height and width: the least that every net takes with more than a few cells at its coarsest stride."""


def conversion_matrix(
    file: str | Path,
    *,
    nets: Sequence[str] = (),
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    size: tuple[int, int] = MATRIX_SIZE,
    page: str | Path | None = None,
    redo: bool = False,
    on_cell: Callable[[Cell], None] | None = None,
) -> Matrix:
    """Return the conversion matrix in `file`, after measuring the cells that it lacks; empty filters mean all.

    The nets are trained for a few steps on rendered streets. Each cell is stored as it is done, so that an interrupted
    run continues. `page` is a Markdown file that is written from all stored cells.

    Raises:
        UnknownName: a net, format or precision that does not exist, with the nearest one.
        InputError: a size that a net does not take, or a file that was measured at another size.
    """
    from edgeseg.deploy.matrix_net import settled_net

    every_net = registry.names("models")
    known = {"net": (nets, every_net), "format": (formats, FORMATS), "precision": (precisions, MATRIX_PRECISIONS)}
    for kind, (given, able) in known.items():
        for name in given:
            if name not in able:
                raise unknown(kind, name, able)
    matrix = fill_matrix(
        Path(file),
        nets=nets or every_net,
        formats=formats or FORMATS,
        precisions=precisions or MATRIX_PRECISIONS,
        size=size,
        make=settled_net,
        redo=redo,
        on_cell=on_cell,
    )
    if page is not None:
        text = matrix_page(matrix, nets=every_net, formats=FORMATS, precisions=MATRIX_PRECISIONS)
        write_whole(text.encode(), Path(page))
    return matrix
