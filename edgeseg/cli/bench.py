"""`edgeseg bench ARTIFACT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.measurement import Measurement

HELP = "measure latency percentiles of each stage; several artifacts are timed in turn, so that their ratios hold"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, add_untrusted, positive

    parser.add_argument(
        "artifacts", metavar="ARTIFACT", nargs="+", type=Path, help="folders that edgeseg convert wrote"
    )
    parser.add_argument("--runs", metavar="N", type=positive, default=200, help="counted runs (default: 200)")
    parser.add_argument("--warmup", metavar="N", type=positive, default=20, help="runs before them (default: 20)")
    parser.add_argument("--device", metavar="NAME", help="what to call this machine in the results")
    parser.add_argument(
        "--data",
        metavar="DIR|SET",
        help="also measure accuracy, on a data set folder or streets[:count[:seed]]",
    )
    parser.add_argument("--split", default="val", help="of --data (default: val)")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=positive,
        help="only the first N images of --data (default: all)",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        type=Path,
        help="write the measurements: a folder for one JSON file each, or one .json file (default: print only)",
    )
    add_engine(parser)
    add_untrusted(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, write the JSON files where asked to, and print the table."""
    from edgeseg.cli import render
    from edgeseg.cli.options import check_origin
    from edgeseg.verbs.bench import bench

    check_origin(options.artifacts, options=options)
    with render.progress(quiet=options.json) as advance:
        measurements = bench(
            options.artifacts,
            runs=options.runs,
            warmup=options.warmup,
            device=options.device,
            engine=options.engine,
            threads=options.threads,
            data=options.data,
            split=options.split,
            limit=options.limit,
            out=options.out,
            on_progress=advance,
        )
    if options.json:
        render.result_json({"schema": 2, "measurements": measurements})
        return 0
    for measurement in measurements:
        _show(measurement)
    if len(measurements) > 1:
        from edgeseg.bench.alike import FIELDS
        from edgeseg.bench.compare import compare
        from edgeseg.cli.compare import show_comparison

        # One run on one machine: what differs is intended, and the notes say it.
        show_comparison(compare(measurements, mixed=FIELDS))
    if options.out:
        render.result(f"Written to {options.out}")
    return 0


def _show(measurement: Measurement) -> None:
    from edgeseg.cli import render

    title = (
        f"{measurement.artifact}: {measurement.engine} {measurement.engine_version}, "
        f"{render.counted(measurement.threads, 'thread')}, "
        f"{measurement.device.name}"
    )
    if not measurement.latency:
        render.result(f"{title}\n  a reference engine: it only checks numbers, so no latency is reported\n")
        return
    rows = [
        (
            item.stage,
            str(item.runs),
            *(
                "too few" if value is None else f"{value:.2f}"
                for value in (item.p50_ms, item.p90_ms, item.p99_ms, item.min_ms)
            ),
        )
        for item in measurement.latency
    ]
    columns = ("stage", "runs", "p50 ms", "p90 ms", "p99 ms", "min ms")
    render.table(title, columns, rows, numbers=columns[1:])
    memory = "" if measurement.peak_memory_mb is None else f", peak memory {measurement.peak_memory_mb:.0f} MB"
    render.result(f"  {measurement.fps:.1f} FPS one image after the other{memory}\n")
