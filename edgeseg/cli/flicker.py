"""`edgeseg flicker ARTIFACT --source FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.verbs.flicker import FlickerReport

HELP = "measure how often labels change on a video where the image does not"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, add_trust, positive

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder that edgeseg convert wrote")
    parser.add_argument("--source", metavar="FILE", required=True, help="a video or a folder of images in order")
    parser.add_argument(
        "--smooth", metavar="HOW", action="append", default=[], help="exp:0.6 or vote:3; may be given several times"
    )
    parser.add_argument("--baseline", metavar="ARTIFACT", type=Path, help="another artifact to compare with")
    parser.add_argument("--motion", action="store_true", help="follow optical flow: for a moving camera; slow")
    parser.add_argument("--frames", metavar="N", type=positive, help="stop after N frames")
    add_engine(parser)
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each way of labelling."""
    from edgeseg.cli import render
    from edgeseg.cli.options import as_usage, check_origin
    from edgeseg.errors import CameraError
    from edgeseg.runtime.frames.temporal_smoothing import smoother_of
    from edgeseg.verbs.flicker import measure_flicker

    with as_usage():
        for text in options.smooth:
            smoother_of(text)
    check_origin((options.artifact, *([options.baseline] if options.baseline else [])), options=options)
    with render.progress(quiet=options.json) as advance:
        report = measure_flicker(
            options.artifact,
            source=options.source,
            smooth=tuple(options.smooth),
            baseline=options.baseline,
            motion=options.motion,
            frames=options.frames,
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
        )
    if report.notice:
        render.say(report.notice)
    if options.json:
        render.result_json(report)
    else:
        _show(report)
    if report.damage:
        raise CameraError(report.damage)
    return 0


def _show(report: FlickerReport) -> None:
    from edgeseg.cli import render

    rows = [
        (
            row.subject,
            row.smooth,
            f"{100 * row.flicker.share:.3f}",
            f"{100 * row.agreement:.2f}",
            f"{row.lag_frames:.1f}",
        )
        for row in report.rows
    ]
    columns = ("artifact", "smooth", "flicker %", "labels as first %", "lag frames")
    along = "along optical flow" if report.motion else "each pixel at its place"
    render.table(f"{report.frames} frames of {report.source}, {along}", columns, rows, numbers=columns[2:])
    still = 100 * report.rows[0].flicker.still_share
    render.result(f"Flicker is the share of unchanged pixels ({still:.0f} % of all) whose label changed.")
