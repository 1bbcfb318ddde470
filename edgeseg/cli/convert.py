"""`edgeseg convert [MODEL] --target T`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "turn a checkpoint into proven artifacts for one or more targets"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="fast_scnn:camvid, a checkpoint folder ... (default: the bundled one)"
    )
    parser.add_argument(
        "--target", metavar="T", action="append", required=True, help="a format or a device; may be given several times"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "fp16", "int8"), default="auto")
    parser.add_argument(
        "--calibration", metavar="DIR|SET", help="pictures for int8 (train split), or streets[:count[:seed]]"
    )
    parser.add_argument("--size", metavar="HxW", help="input size (default: the checkpoint's own)")
    parser.add_argument("--output", choices=("logits", "labels"), default="logits", help="what the graph gives")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write (default: artifacts/<name>)")
    parser.add_argument("--force", action="store_true", help="calibrate on val or test pictures all the same")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")


def run(options: argparse.Namespace) -> int:
    """Convert, and print where the artifacts are and how near they come to the float checkpoint."""
    from edgeseg.cli import render
    from edgeseg.cli.options import size_of
    from edgeseg.verbs.convert import convert, plan

    arguments = {
        "target": tuple(options.target),
        "precision": options.precision,
        "calibration": options.calibration,
        "size": size_of(options.size),
        "output": options.output,
        "out": options.out,
        "force": options.force,
    }
    if options.dry_run:
        return _show_plan(plan(options.model, **arguments), options)
    with render.progress(quiet=options.json) as advance:
        artifacts = convert(options.model, **arguments, on_progress=advance)
    if artifacts and artifacts[0].manifest.notice:
        render.say(artifacts[0].manifest.notice)
    if options.json:
        render.result_json({"artifacts": [summary(artifact) for artifact in artifacts]})
        return 0
    for artifact in artifacts:
        render.result(_sentence(artifact))
    return 0
