"""`edgeseg models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "list the bundled checkpoints and the architectures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: none of its own."""


def run(options: argparse.Namespace) -> int:
    """List bundled checkpoints with their scores, and architectures with their papers."""
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
