"""`edgeseg calibrate [MODEL] --data DIR|SET --out FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "observe a model's activation ranges once, so that its int8 conversions need no data"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive

    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a checkpoint folder or a bundled name (default: fast_scnn)",
    )
    parser.add_argument("--data", metavar="DIR|SET", required=True, help="train pictures, or streets[:count[:seed]]")
    parser.add_argument("--count", metavar="N", type=positive, default=64, help="pictures to select (default: 64)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the selection (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: ranges.json in the checkpoint)"
    )
    parser.add_argument(
        "--float-layers", metavar="PATH", nargs="+", default=[], help="modules that int8 conversions leave in float"
    )
    parser.add_argument("--force", action="store_true", help="take val or test pictures all the same")


def run(options: argparse.Namespace) -> int:
    """Calibrate, and print what the ranges were observed on."""
    from edgeseg.cli import render
    from edgeseg.verbs.calibrate import calibrate

    with render.progress(quiet=options.json) as advance:
        done = calibrate(
            options.model,
            data=options.data,
            count=options.count,
            seed=options.seed,
            force=options.force,
            float_layers=tuple(options.float_layers),
            out=options.out,
            on_progress=advance,
        )
    for finding in done.findings:
        render.say(f"calibration: {finding}")
    if options.json:
        render.result_json({"path": str(done.path), "findings": done.findings, "calibration": done.ranges.calibration})
        return 0
    found = done.ranges.calibration
    render.result(
        f"{done.path}: {len(done.ranges.ranges)} ranges from {len(found.item_ids)} pictures of {found.source} "
        f"({found.split}, {found.selection})"
    )
    return 0
