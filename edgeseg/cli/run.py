"""`edgeseg run ARTIFACT --source URI`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "run the camera loop: a camera, a file, a stream or the synthetic street, to a window or a file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, positive

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder that edgeseg convert wrote")
    parser.add_argument(
        "--source", metavar="URI", default="synthetic", help="synthetic[:seed], FILE, 0, v4l2:/dev/video0, rtsp://..."
    )
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the overlay as a video (.mp4, .mkv, .avi)")
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument("--no-overlay", action="store_true", help="draw nothing (with --headless: inference alone)")
    parser.add_argument("--frames", metavar="N", type=positive, help="stop after N frames")
    parser.add_argument("--size", metavar="HxW", help="ask the source for this picture size")
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Run the loop, and print how it went."""
    from edgeseg.cli import render
    from edgeseg.cli.options import size_of
    from edgeseg.verbs.run import run_loop

    with render.progress(quiet=options.json) as advance:
        outcome = run_loop(
            options.artifact,
            source=options.source,
            save=options.save,
            window=not options.headless and options.save is None,
            overlay=not options.no_overlay,
            frames=options.frames,
            size=size_of(options.size),
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
        )
    if outcome.notice:
        render.say(outcome.notice)
    loop = outcome.loop
    if options.json:
        render.result_json({**render.encode(loop), "artifact": outcome.artifact, "engine": outcome.engine})  # type: ignore[dict-item]
    else:
        _show(outcome, options)
    return 130 if loop.interrupted else 0


def _show(outcome: object, options: argparse.Namespace) -> None:
    from edgeseg.cli import render
    from edgeseg.verbs.run import RunOutcome

    assert isinstance(outcome, RunOutcome)
    loop = outcome.loop
    rows = [
        (stage, f"{times.p50_ms:.2f}", f"{times.p90_ms:.2f}", f"{times.p99_ms:.2f}")
        for stage, times in loop.stages_ms.items()
    ]
    title = f"{outcome.artifact} on {outcome.engine}, {options.source}"
    render.table(title, ("stage", "p50 ms", "p90 ms", "p99 ms"), rows, numbers=("p50 ms", "p90 ms", "p99 ms"))
    score = "" if loop.miou is None else f", mIoU against the source's own labels {render.percent(loop.miou)} %"
    render.result(f"{loop.frames} frames at {loop.fps:.1f} FPS, {loop.skipped} skipped{score}")
    if options.save:
        render.result(f"Video: {options.save}")
