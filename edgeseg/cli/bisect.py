"""`edgeseg bisect ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "find the step and the layer at which an artifact diverges from its float model"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder that edgeseg convert wrote")
    parser.add_argument("--checkpoint", metavar="MODEL", help="its float checkpoint, if that is not a bundled one")
    parser.add_argument("--data", metavar="DIR", help="images to compare on (default: the golden samples)")
    parser.add_argument("--engine", metavar="E", help="engine to run the artifact on (default: its own)")
    parser.add_argument("--count", metavar="N", type=positive, default=2, help="images to compare on (default: 2)")


def run(options: argparse.Namespace) -> int:
    """Print the ladder and the first divergence; status 3 if there is one."""
    from edgeseg.analyze.bisect import bisect
    from edgeseg.cli import render

    with render.progress(quiet=options.json) as advance:
        found = bisect(
            options.artifact,
            checkpoint=options.checkpoint,
            data=options.data,
            engine=options.engine,
            count=options.count,
            on_progress=advance,
        )
    status = 3 if found.rung else 0
    if options.json:
        render.result_json({"schema": 1, **render.fields(found)})
        return status
    columns = ("step", "computed by", "dB to the step before", "dB to PyTorch", "labels %", "required dB", "holds")
    rows = [
        (
            rung.name,
            rung.engine,
            _db(rung.sqnr_db),
            _db(rung.total_db),
            render.percent_text(rung.label_agreement),
            _db(rung.required_db),
            "yes" if rung.holds else "NO",
        )
        for rung in found.rungs
    ]
    if rows:
        title = f"{found.artifact} against {found.checkpoint}, {found.images} images"
        render.table(title, columns, rows, numbers=columns[2:6])
    if not found.rung:
        render.result("No step diverges.")
        return status
    where = f" at {found.layer}" if found.layer else ""
    render.result(f"First divergence: {found.rung}{where}. {found.fix}")
    return status


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
