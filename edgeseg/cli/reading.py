"""The options of `edgeseg run` that say how frames are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edgeseg.runtime.frames.options import Reading


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from edgeseg.cli.options import positive

    parser.add_argument(
        "--smooth", metavar="HOW", help="steadier labels that follow changes later: exp:0.6 or vote:3 (default: none)"
    )
    parser.add_argument("--roi", metavar="X,Y,W,H", help="segment this window of the frame only")
    parser.add_argument("--uncertainty", metavar="KIND", help="show where the net is unsure: margin or entropy")
    parser.add_argument("--monitor", metavar="ARTIFACT", type=Path, help="float artifact to compare with while running")
    parser.add_argument("--monitor-every", metavar="N", type=positive, default=30, help="frames between (default: 30)")
    parser.add_argument("--fps", metavar="N", type=float, help="keep this rate: step through the ARTIFACTs' sizes")
    parser.add_argument("--latency", metavar="MS", type=float, help="keep image to labels below this, likewise")


def reading_of(options: argparse.Namespace, *, others: Sequence[Path]) -> Reading:
    """Return what the options ask for; raises `UsageError` for a text that cannot be understood."""
    from edgeseg.cli.options import as_usage
    from edgeseg.runtime.frames.options import Reading

    reading = Reading(
        smooth=options.smooth,
        region=options.roi,
        uncertainty=options.uncertainty,
        monitor=options.monitor,
        monitor_every=options.monitor_every,
        others=tuple(others),
        keep_fps=options.fps,
        keep_latency_ms=options.latency,
    )
    with as_usage():
        reading.check()
    return reading
