"""`edgeseg new my-project --data DIR --target raspberry-pi-5`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "look at a data set and write the recipes of a new project for a device"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("project", metavar="FOLDER", type=Path, help="folder of the project; its name names the net")
    parser.add_argument("--data", metavar="DIR", required=True, help="labelled images: a folder, or READER:PLACE")
    parser.add_argument("--target", metavar="T", required=True, help="device (edgeseg targets), or ./board.toml")
    parser.add_argument("--model", metavar="NAME", help="architecture of edgeseg models (default: fast_scnn)")
    parser.add_argument("--size", metavar="HxW", help="input size, HEIGHTxWIDTH (default: from the images)")
    parser.add_argument("--force", action="store_true", help="replace the recipes in the folder")


def run(options: argparse.Namespace) -> int:
    """Write the recipes, and print what was seen and the five commands."""
    from edgeseg.cli import render
    from edgeseg.cli.options import size_of
    from edgeseg.verbs.new import new

    with render.progress(quiet=options.json) as advance:
        made = new(
            options.project,
            data=options.data,
            target=options.target,
            model=options.model,
            size=size_of(options.size),
            force=options.force,
            on_progress=advance,
        )
    if options.json:
        render.result_json({"schema": 1, **render.fields(made)})
        return 0
    data, net = made.data, made.net
    for finding in data.findings:
        render.say(f"data: {finding}")
    rows = [(name, render.percent_text(share)) for name, share in zip(data.classes, data.shares, strict=True)]
    title = f"{data.name}: {data.training} training and {data.validation} validation images"
    render.table(title, ("class", "% of pixels"), rows, numbers=("% of pixels",))
    high, width = data.size
    render.result(f"{net.name} at {high}x{width}, {net.macs / 1e9:.2f} GMACs: {', '.join(map(str, made.recipes))}")
    render.result("Next:\n" + "\n".join(f"  {command}" for command in made.commands))
    return 0
