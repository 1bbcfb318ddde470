"""`edgeseg check [MODEL] --target T`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.verbs.check import ChipCheck

HELP = "say where each op of a model would run on a device's accelerator, and what to change"
STATUS = {"whole": 0, "partly": 3, "none": 1}
"""Exit status of each verdict: everything on the accelerator, a part of it, nothing."""

EVIDENCE = {
    "compiler": "Compared with what the vendor's compiler placed.",
    "document": "Taken from that document.",
    "unchecked": "Unchecked: not yet compared with that source; take the verdict as a hint.",
}
"""How far a chip's table can be trusted."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_model, parse_size

    add_model(parser)
    parser.add_argument(
        "--target", metavar="T", required=True, help="a device with an accelerator, a chip, or ./board.toml"
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=parse_size,
        help="input size in pixels, HEIGHTxWIDTH (default: the checkpoint's own)",
    )
    parser.add_argument("--all", action="store_true", help="list every op, not only those that run elsewhere")


def run(options: argparse.Namespace) -> int:
    """Print the verdict; status 0 if all runs on the accelerator, 3 for a part, 1 for nothing."""
    from edgeseg.cli import render
    from edgeseg.verbs.check import check

    found = check(options.model, target=options.target, weights=options.weights, spec=options.spec, size=options.size)
    if options.json:
        render.result_json({**render.fields(found), "on_chip": found.on_chip})
        return STATUS[found.verdict]
    _show(found, every=options.all)
    return STATUS[found.verdict]


def _show(found: ChipCheck, *, every: bool) -> None:
    from edgeseg.cli import render
    from edgeseg.core.placement import CPU

    rows = [
        (item.placement.unit, item.placement.op, item.layer or item.placement.node, item.placement.reason or "-")
        for item in found.ops
        if every or item.placement.unit == CPU
    ]
    if rows:
        render.table("", ("runs on", "op", "layer", "why not on the accelerator"), rows)
    size = f"{found.size[0]}x{found.size[1]}"
    render.result(f"{found.model} at {size} on {found.chip}: {found.on_chip} of {len(found.ops)} ops on it")
    limit = f" of {found.available_kib} KiB" if found.available_kib else ""
    render.result(f"predicted peak memory: {found.memory_kib:.0f} KiB{limit}, at {found.memory_at}")
    for text in found.advice:
        render.result(f"  {text}")
    words = {"whole": "runs whole on the accelerator", "partly": "runs partly on it", "none": "does not run on it"}
    render.result(f"verdict: {words[found.verdict]}. {found.reason}".rstrip())
    render.result(f"table of {found.dated}: {found.source}. {EVIDENCE[found.evidence]}")
