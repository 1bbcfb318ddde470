"""`edgeseg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "the full pipeline, once, on this machine: convert, prove, run the camera loop, measure, report"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive, threads

    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a checkpoint folder or a bundled name (default: fast_scnn:streets-half, compressed)",
    )
    parser.add_argument(
        "--data", metavar="DIR", default="streets:24", help="data set for the mIoU (default: streets:24)"
    )
    parser.add_argument("--split", default="val", help="of --data: train, val or test (default: val)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("edgeseg-demo"),
        help="folder to write (default: ./edgeseg-demo)",
    )
    parser.add_argument("--threads", metavar="N", type=threads, help="engine threads (default: each target's own)")
    parser.add_argument(
        "--runs", metavar="N", type=positive, default=60, help="timed runs of each engine (default: 60)"
    )
    parser.add_argument(
        "--frames",
        metavar="N",
        type=positive,
        default=120,
        help="frames of the video (default: 120)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the demo, and print the comparison and where everything lies."""
    from edgeseg.cli import render
    from edgeseg.cli.compare import show_comparison
    from edgeseg.verbs.demo import demo

    with render.progress(quiet=options.json) as advance:
        done = demo(
            options.model,
            out=options.out,
            data=options.data,
            split=options.split,
            threads=options.threads,
            runs=options.runs,
            frames=options.frames,
            on_progress=advance,
            on_note=(lambda _text: None) if options.json else render.say,
        )
    if options.json:
        render.result_json(done)
        return 0
    show_comparison(done.comparison)
    loop = done.loop
    score = "" if loop.miou is None else f", live mIoU {render.percent_text(loop.miou)} %"
    render.result(f"Camera loop: {loop.frames} frames at {loop.fps:.1f} FPS with overlay and video{score}")
    render.result(f"Video:     {done.video}\nReport:    {done.report}\nArtifacts: {done.artifacts_folder}")
    render.result(f"Took {done.seconds:.0f} s.")
    return 0
