"""`edgeseg bench ARTIFACT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edgeseg.core.measurement import Measurement
    from edgeseg.core.timing_method import SustainedMinute

HELP = "measure latency percentiles of each stage; several artifacts are timed in turn, so that their ratios hold"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, add_trust, duration, positive, whole
    from edgeseg.cli.remote import add_device_name, add_device_option

    parser.add_argument(
        "artifacts", metavar="ARTIFACT", nargs="+", type=Path, help="folders that edgeseg convert wrote"
    )
    parser.add_argument(
        "--runs", metavar="N", type=positive, default=200, help="at least N counted runs (default: 200)"
    )
    parser.add_argument(
        "--min-seconds", metavar="S", type=whole, default=0, help="count runs for at least S seconds (default: 0)"
    )
    parser.add_argument(
        "--warmup", metavar="N", type=whole, help="runs before them (default: until the running median settles)"
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--sustained",
        metavar="TIME",
        type=duration,
        help="run each artifact without a pause for 30m, 90s or 1h: the curve by minute, and whether it throttled",
    )
    rule.add_argument(
        "--mlperf",
        action="store_true",
        help="MLPerf's single-stream rule: at least 1024 runs and 60 s each; its figure is the p90",
    )
    parser.add_argument(
        "--stable", action="store_true", help="status 3 where noise forbids a conclusion from the median"
    )
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="also the arithmetic rate against this machine's own peak, measured with a matrix product",
    )
    add_device_option(parser)
    add_device_name(parser)
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
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, write the JSON files where asked to, and print the table."""
    from edgeseg.cli import render
    from edgeseg.cli.options import check_origin
    from edgeseg.cli.remote import remote_names
    from edgeseg.verbs.bench import bench, check_stable

    if names := remote_names(options):
        return _run_on_devices(options, names)
    check_origin(options.artifacts, options=options)
    with render.progress(quiet=options.json) as advance:
        measurements = bench(
            options.artifacts,
            runs=options.runs,
            warmup=options.warmup,
            least_seconds=options.min_seconds,
            sustained_s=options.sustained,
            mlperf=options.mlperf,
            with_roofline=options.roofline,
            device=options.device_name,
            engine=options.engine,
            threads=options.threads,
            data=options.data,
            split=options.split,
            limit=options.limit,
            out=options.out,
            on_progress=advance,
            on_notice=render.say,
        )
    if options.json:
        render.result_json({"schema": 2, "measurements": measurements})
    else:
        _show_all(measurements)
        if options.out:
            render.result(f"Written to {options.out}")
    if options.roofline:
        _explain_missing_rooflines(measurements)
    if options.stable:
        check_stable(measurements)
    return 0


def _run_on_devices(options: argparse.Namespace, names: Sequence[str]) -> int:
    from edgeseg.cli import render
    from edgeseg.cli.remote import forwarded, outcome_table, show_line
    from edgeseg.devices.remote_verbs import Pushed
    from edgeseg.verbs.bench import check_destination
    from edgeseg.verbs.device import measurements_of, raise_failures, run_verb_on

    words = forwarded(options)
    if options.out is not None:
        artifacts = sum(isinstance(word, Pushed) and word.kind == "artifact" for word in words)
        check_destination(options.out, count=artifacts * len(names))
    measurements, outcomes = measurements_of(run_verb_on(names, "bench", words, tell=show_line), out=options.out)
    if options.json:
        failed = [outcome_table(item) for item in outcomes if item.error]
        render.result_json({"schema": 2, "measurements": measurements, "failed": failed})
    elif measurements:
        _show_all(measurements)
        if options.out:
            render.result(f"Written to {options.out}")
    raise_failures(outcomes)
    return 0


def _show_all(measurements: Sequence[Measurement]) -> None:
    for measurement in measurements:
        _show(measurement)
    if len(measurements) > 1:
        from edgeseg.bench.alike import FIELDS
        from edgeseg.bench.compare import compare
        from edgeseg.cli.compare import show_comparison

        # One command: what differs is intended, and the notes say it.
        show_comparison(compare(measurements, mixed=FIELDS))


def _explain_missing_rooflines(measurements: Sequence[Measurement]) -> None:
    from edgeseg.bench.peak import computed_in
    from edgeseg.cli import render

    for item in measurements:
        if item.roofline is not None or not item.latency:
            continue
        precision = computed_in(item)
        if precision is None:
            why = f"the peak in {item.inference_precision or item.precision} cannot be measured here"
        else:
            why = (
                "its manifest does not say how many multiply-accumulates it takes (convert again), or no library here "
                f"measures the peak in {precision} (int8 needs ONNX Runtime)"
            )
        render.say(f"Note: no roofline of {item.artifact}: {why}.")


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
            f"{item.p50_ms:.2f}",
            _interval(item.p50_interval_ms),
            "-" if item.p90_ms is None else f"{item.p90_ms:.2f}",
            "too few" if item.p99_ms is None else f"{item.p99_ms:.2f}",
            f"{item.min_ms:.2f}",
        )
        for item in measurement.latency
    ]
    columns = ("stage", "runs", "p50 ms", "95 % interval", "p90 ms", "p99 ms", "min ms")
    render.table(title, columns, rows, numbers=columns[1:])
    memory = "" if measurement.peak_memory_mb is None else f", peak memory {measurement.peak_memory_mb:.0f} MB"
    if measurement.fps:
        render.result(f"  {measurement.fps:.1f} FPS one image after the other{memory}")
    else:
        render.result("  The net alone, on random input: no preprocessing and no decoding, so no FPS.")
    for line in _further(measurement):
        render.result(f"  {line}")
    render.result("")


def _interval(bounds: tuple[float, float] | None) -> str:
    return "too few" if bounds is None else f"{bounds[0]:.2f}-{bounds[1]:.2f}"


def _further(measurement: Measurement) -> list[str]:
    """Return lines about warm-up, loading, MLPerf's figure, the roofline and the sustained curve, where known."""
    lines = []
    method, total = measurement.method, measurement.stage("total")
    if method is not None and method.settled is False:
        lines.append(f"The median had not settled after {measurement.warmup} warm-up runs: this machine is noisy.")
    if measurement.load_ms is not None and measurement.first_inference_ms is not None:
        lines.append(
            f"Loading {measurement.load_ms:.0f} ms, again {measurement.reload_ms or 0:.0f} ms; first image "
            f"{measurement.first_inference_ms:.1f} ms"
        )
    if method is not None and method.protocol == "mlperf-single-stream" and total is not None and total.p90_ms:
        lines.append(f"MLPerf single stream, {total.runs} queries: p90 {total.p90_ms:.2f} ms")
    roof = measurement.roofline
    if roof is not None:
        lines.append(
            f"{roof.gops:.1f} GOPS ({roof.macs / 1e6:.0f} M multiply-accumulates) of {roof.peak_gops:.1f} that this "
            f"machine reaches in {roof.precision} by {roof.peak_of}: {100 * roof.fraction:.0f} %"
        )
    curve = measurement.sustained
    if curve is not None:
        lines.append(f"Sustained {curve.seconds:.0f} s: {curve.verdict}{f', {curve.reason}' if curve.reason else ''}")
        lines += [_minute(item) for item in curve.minutes]
    return lines


def _minute(item: SustainedMinute) -> str:
    heat = "" if item.temperature_c is None else f", {item.temperature_c:.0f} °C"
    clock = "" if item.frequency_mhz is None else f", {item.frequency_mhz:.0f} MHz"
    return f"  minute {item.minute}: p50 {item.p50_ms:.2f} ms over {item.runs} runs{heat}{clock}"
