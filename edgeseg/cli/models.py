"""`edgeseg models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.cli.options import UsageError, parse_size

if TYPE_CHECKING:
    import argparse

    from edgeseg.deploy.matrix import Cell

HELP = "list checkpoints and architectures; import and fetch weights; measure the conversion matrix"
MATRIX_OPTIONS = ("nets", "formats", "precisions", "page", "redo")
IMPORT_OPTIONS = ("name", "spec", "allow_missing")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "action", metavar="ACTION", nargs="?", choices=("import", "fetch"), help="import or fetch; nothing to list"
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="import: a .pth, .pt or .safetensors file; fetch: hf://OWNER/REPOSITORY@COMMIT/FILE#sha256=HASH",
    )
    parser.add_argument("--as", dest="name", metavar="NAME", help="import: the architecture that the weights are of")
    parser.add_argument("--spec", metavar="FILE", type=Path, help="import: a spec.toml with classes and preprocessing")
    parser.add_argument(
        "--allow-missing", action="store_true", default=None, help="import: a classifier may start fresh"
    )
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, help="import: the checkpoint folder; fetch: the file")
    parser.add_argument("--matrix", metavar="FILE", type=Path, help="convert every net, into this JSON; resumes there")
    parser.add_argument("--nets", metavar="A,B", type=_names, help="with --matrix: these architectures (default: all)")
    parser.add_argument("--formats", metavar="A,B", type=_names, help="with --matrix: these formats (default: all)")
    parser.add_argument("--precisions", metavar="A,B", type=_names, help="with --matrix: of fp32, fp16 and int8")
    parser.add_argument("--size", metavar="HxW", type=parse_size, help="input size of the import or the matrix")
    parser.add_argument("--page", metavar="FILE", type=Path, help="with --matrix: write all stored cells as Markdown")
    parser.add_argument("--redo", action="store_true", default=None, help="with --matrix: measure stored cells again")


def run(options: argparse.Namespace) -> int:
    """List what MODEL can name, import weights, or fill the conversion matrix."""
    if options.matrix is None:
        _refuse(options, MATRIX_OPTIONS, "--matrix FILE")
    if options.action != "import":
        _refuse(options, IMPORT_OPTIONS, "models import")
    if options.action is None:
        _refuse(options, ("out",), "models import and fetch")
    if options.action == "fetch":
        if options.matrix is not None or options.file is None:
            raise UsageError("models fetch needs an address, and takes no --matrix.")
        return _fetch(options)
    if options.action == "import":
        if options.matrix is not None or None in (options.file, options.name, options.out):
            raise UsageError("models import needs FILE, --as NAME and -o DIR, and takes no --matrix.")
        return _import(options)
    if options.matrix is not None:
        return _matrix(options)
    _refuse(options, ("size",), "models import or --matrix FILE")
    return _list(options)


def _refuse(options: argparse.Namespace, names: tuple[str, ...], owner: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            shown = "--as" if name == "name" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{shown} belongs to {owner}.")


def _fetch(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.models.foreign.fetch import fetch_weights, hub_file

    path = fetch_weights(options.file, options.out)
    if options.json:
        render.result_json({"schema": 1, "path": str(path), "sha256": hub_file(options.file).sha256})
        return 0
    render.result(str(path))
    render.say(f"Next: edgeseg models import {path} --as NAME -o DIR")
    return 0


def _import(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.core.spec_file import read_spec_file
    from edgeseg.models.foreign.import_weights import import_weights

    done = import_weights(
        Path(options.file),
        options.out,
        name=options.name,
        spec=None if options.spec is None else read_spec_file(options.spec),
        size=options.size,
        allow_missing=bool(options.allow_missing),
    )
    if options.json:
        render.result_json({"schema": 1, "path": str(options.out), **render.fields(done)})
        return 0
    render.result(f"{options.out}: {options.name} from {done.layout} weights, {len(done.matched)} tensors matched")
    used = done.spec.preprocess
    for what, keys in (("left out by design", done.dropped), ("fresh, to be trained", done.fresh)):
        if keys:
            render.say(f"{len(keys)} tensors {what}, first {keys[0]}")
    if done.spec.arguments:
        said = ", ".join(f"{key} = {json.dumps(value)}" for key, value in done.spec.arguments.items())
        render.say(f"Built as these weights need it: {said}")
    if done.note:
        render.say(done.note)
    if options.spec is None:
        mean, std = (", ".join(f"{value:.4g}" for value in ends) for ends in (used.mean, used.std))
        named = (
            ""
            if done.spec.classes[0] == "class 0"
            else f", the file's own names: {', '.join(done.spec.classes[:3])}, ..."
        )
        render.say(f"No --spec: {len(done.spec.classes)} classes{named}; mean {mean}, deviation {std}.")
    return 0


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
