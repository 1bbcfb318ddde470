"""`edgeseg models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.cli.options import UsageError, parse_size

if TYPE_CHECKING:
    import argparse

    from edgeseg.deploy.matrix import Cell

HELP = "list checkpoints and architectures; measure the conversion matrix"
MATRIX_OPTIONS = ("nets", "formats", "precisions", "size", "page", "redo")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--matrix", metavar="FILE", type=Path, help="convert every net, into this JSON; resumes there")
    parser.add_argument("--nets", metavar="A,B", type=_names, help="with --matrix: these architectures (default: all)")
    parser.add_argument("--formats", metavar="A,B", type=_names, help="with --matrix: these formats (default: all)")
    parser.add_argument("--precisions", metavar="A,B", type=_names, help="with --matrix: of fp32, fp16 and int8")
    parser.add_argument("--size", metavar="HxW", type=parse_size, help="with --matrix: the nets' input size")
    parser.add_argument("--page", metavar="FILE", type=Path, help="with --matrix: write all stored cells as Markdown")
    parser.add_argument("--redo", action="store_true", default=None, help="with --matrix: measure stored cells again")


def run(options: argparse.Namespace) -> int:
    """List what MODEL can name, or fill the conversion matrix."""
    if options.matrix is not None:
        return _matrix(options)
    for name in MATRIX_OPTIONS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} belongs to --matrix FILE.")
    return _list(options)


def _matrix(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.matrix import MATRIX_SIZE, conversion_matrix

    def tell(cell: Cell) -> None:
        agreed = "" if cell.agreement is None else f", {100 * cell.agreement:.2f} % of labels equal"
        outcome = cell.reason if cell.status != "converted" else f"{cell.size_bytes / 1e6:.2f} MB{agreed}"
        render.say(f"{cell.net} {cell.format} {cell.precision}: {cell.status}, {outcome} ({cell.seconds:.0f} s)")

    matrix = conversion_matrix(
        options.matrix,
        nets=options.nets or (),
        formats=options.formats or (),
        precisions=options.precisions or (),
        size=options.size or MATRIX_SIZE,
        page=options.page,
        redo=bool(options.redo),
        on_cell=tell,
    )
    if options.json:
        render.result_json(matrix)
        return 0
    converted = sum(cell.status == "converted" for cell in matrix.cells)
    render.result(f"{options.matrix}: {converted} of {len(matrix.cells)} stored cells converted")
    return 0


def _list(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.models import list_models

    listing = list_models()
    if options.json:
        render.result_json(listing)
        return 0
    rows = [
        (
            f"{item.name} (default)" if item.default else item.name,
            f"{item.size[0]}x{item.size[1]}",
            str(item.classes),
            render.percent_text(item.val_miou),
            item.data,
            item.original or "-",
            item.licence,
        )
        for item in listing.checkpoints
    ]
    columns = ("checkpoint", "input", "classes", "val mIoU %", "trained on", "compressed from", "licence")
    render.table("Bundled checkpoints", columns, rows, numbers=("classes", "val mIoU %"))
    nets = [(item.name, str(item.output_stride), item.description, item.paper) for item in listing.architectures]
    render.table("Architectures", ("name", "stride", "what", "paper"), nets, numbers=("stride",))
    for fault in listing.faults:
        render.say(f"Not usable: {fault}")
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
