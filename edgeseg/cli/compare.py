"""`edgeseg compare RESULT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.bench.compare import Comparison, Row

COLUMNS = ("artifact", "engine", "MB", "p50 ms", "p99 ms", "speed-up", "infer", "mIoU %", "lost", "front")
HELP = "put measurements side by side: table, HTML report, and a gate for continuous integration"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "results",
        metavar="RESULT",
        nargs="+",
        type=Path,
        help="JSON files or folders of bench --out",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a self-contained report")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print the table as Markdown, for a README or a review",
    )
    parser.add_argument(
        "--baseline",
        metavar="X",
        help="artifact to hold all others against, or a model's name: its fp32 one on each engine (default: the fp32 "
        "one of the same net and engine)",
    )
    parser.add_argument(
        "--gate",
        metavar="RULES",
        help='rules such as "miou>=60,p99_ms<=40", status 3 where one fails; also miou_drop, agreement, '
        "boundary_f1, fps, speed_up, size_mb, memory_mb",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, write the report, and hold the gate."""
    from edgeseg.bench import read_measurements
    from edgeseg.bench.compare import compare
    from edgeseg.bench.gate import check_gate, parse_gate
    from edgeseg.bench.report import write_report
    from edgeseg.cli import render

    if options.gate:
        parse_gate(options.gate)
    measurements = read_measurements(options.results)
    comparison = compare(measurements, baseline=options.baseline)
    if options.html:
        write_report(comparison, options.html)
    if options.json:
        render.result_json({"rows": comparison.rows, "baseline": comparison.baseline, "warnings": comparison.warnings})
    elif options.markdown:
        render.result(markdown(comparison))
    else:
        show_comparison(comparison)
    if options.html:
        render.say(f"Report: {options.html}")
    if options.gate:
        check_gate(options.gate, measurements, baseline=options.baseline)
    return 0


def show_comparison(comparison: Comparison) -> None:
    """Print the comparison's table, and what a reader must know before judging on stderr."""
    from edgeseg.cli import render

    rows = [_cells(row) for row in comparison.rows]
    held = any(row.baseline for row in comparison.rows)
    title = f"Speed-up and loss against {comparison.baseline}" if held else "Side by side, without a baseline"
    render.table(title, COLUMNS, rows, numbers=COLUMNS[2:9])
    for warning in comparison.warnings:
        render.say(f"Note: {warning}")


def markdown(comparison: Comparison) -> str:
    """Return the comparison's table in Markdown, the numbers set flush right."""
    head = "| " + " | ".join(COLUMNS) + " |"
    rule = "|" + "|".join("---:" if column in COLUMNS[2:9] else "---" for column in COLUMNS) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(_cells(row)) + " |" for row in comparison.rows)])


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    def times(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}x"

    return (
        row.label,
        f"{row.measurement.engine} {row.measurement.threads}T",
        f"{row.size_mb:.2f}",
        number(row.p50_ms, ".2f"),
        number(row.p99_ms, ".2f"),
        times(row.speed_up),
        times(row.infer_speed_up),
        number(None if row.miou is None else 100 * row.miou, ".2f"),
        number(None if row.miou_drop is None else 100 * row.miou_drop, ".2f"),
        "*" if row.on_front else "",
    )
