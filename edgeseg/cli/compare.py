"""`edgeseg compare RESULT...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.bench.change import LatencyChange
    from edgeseg.bench.compare import Comparison, Row

COLUMNS = (
    "artifact", "device", "net", "input", "engine", "MB", "p50 ms", "p99 ms", "speed-up", "infer", "p50 change",
    "mIoU %", "change", "front",
)  # fmt: skip
NUMBERS = (*COLUMNS[5:10], *COLUMNS[11:13])
_PADDING = 3
_STATED_ONCE = ("device", "net", "input")
"""Columns that the title states instead where all rows say the same."""
_LEAST_WANTED = ("infer", "MB", "front", "engine", "p99 ms", "p50 change", "input", "net")
"""Columns that a narrow terminal leaves out, in this order, until the table fits."""
HELP = "put measurements side by side: table, HTML report, and a gate for continuous integration"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "results", metavar="RESULT", nargs="+", type=Path, help="JSON files of bench --out, or folders, nested or not"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a self-contained report")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the table as Markdown, for a README or a review")
    form.add_argument("--csv", action="store_true", help="print all columns as CSV, numbers in full")
    parser.add_argument(
        "--sqlite",
        metavar="FILE",
        type=Path,
        help="keep an SQLite index of all given results in FILE; only new and changed files are read again",
    )
    parser.add_argument(
        "--baseline",
        metavar="X",
        help="compare with this artifact, by name or hash, on the row's own device, with DEVICE/ARTIFACT across "
        "devices, or with a model's fp32 artifact on each engine (default: fp32 of the same net, device and engine)",
    )
    parser.add_argument(
        "--mixed",
        metavar="FIELD",
        action="append",
        default=[],
        help="compare anyway where records differ in data, input_size, image_size, emulated or throttled; may "
        "be given several times",
    )
    parser.add_argument(
        "--gate",
        metavar="RULES",
        help='rules such as "miou>=60,p99_ms<=40", status 3 where one fails; any metric in the records, and '
        "miou_change, int8_change, agreement, fps, speed_up, size_mb, memory_mb",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, write the report, and check the gate."""
    from edgeseg.bench import read_measurements
    from edgeseg.bench.compare import compare
    from edgeseg.bench.gate import gate_results, raise_failed
    from edgeseg.bench.report import write_report
    from edgeseg.cli import render

    if options.sqlite:
        _index(options)
    measurements = read_measurements(options.results)
    comparison = compare(measurements, baseline=options.baseline, mixed=options.mixed)
    gates = (
        gate_results(options.gate, measurements, baseline=options.baseline, mixed=options.mixed) if options.gate else ()
    )
    if options.html:
        write_report(comparison, options.html)
    if options.json:
        render.result_json({"schema": 2, **render.fields(comparison), "gates": gates})
    elif options.markdown:
        render.result(markdown(comparison))
    elif options.csv:
        render.result(comma_separated(comparison))
    else:
        show_comparison(comparison)
    if options.markdown or options.csv:
        show_warnings(comparison)
    if options.html:
        render.say(f"Report: {options.html}")
    if options.gate:
        raise_failed(options.gate, gates)
    return 0


def _index(options: argparse.Namespace) -> None:
    from edgeseg.bench.record_index import update_index
    from edgeseg.cli import render

    with render.progress(quiet=options.json) as advance:
        done = update_index(options.sqlite, options.results, on_progress=advance)
    render.say(
        f"Index: {options.sqlite}, {render.counted(done.measurements, 'measurement')}; "
        f"{render.counted(done.read, 'file')} read, {done.removed} removed"
    )


def show_comparison(comparison: Comparison) -> None:
    """Print the comparison's table and the best of each device, and its warnings on stderr."""
    from edgeseg.cli import render

    columns, rows, stated = _columns(comparison)
    columns, rows, left_out = _fitting(columns, rows, width=render.console().width)
    render.table(_title(comparison, stated), columns, rows, numbers=NUMBERS)
    if left_out:
        render.say(f"Left out for lack of width: {', '.join(left_out)}. A wider terminal, --json or --html shows them.")
    for best in comparison.best if len(comparison.rows) > 1 else ():
        named = (("fastest", best.fastest), ("most accurate", best.most_accurate), ("smallest", best.smallest))
        render.result(f"Best on {best.device}: {', '.join(f'{what} {label}' for what, label in named if label)}")
    show_warnings(comparison)


def _title(comparison: Comparison, stated: str) -> str:
    with_baseline = any(row.baseline for row in comparison.rows)
    return f"{f'Against {comparison.baseline}' if with_baseline else 'Side by side, without a baseline'}{stated}"


def show_warnings(comparison: Comparison) -> None:
    """Print the comparison's warnings on stderr."""
    from edgeseg.cli import render

    for warning in comparison.warnings:
        render.say(f"Note: {warning}")


def markdown(comparison: Comparison) -> str:
    """Return the comparison's table in Markdown, the numbers set flush right."""
    columns, rows, stated = _columns(comparison)
    head = "| " + " | ".join(columns) + " |"
    rule = "|" + "|".join("---:" if column in NUMBERS else "---" for column in columns) + "|"
    lines = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows]
    return "\n".join([head, rule, *lines, "", _markdown_cell(_title(comparison, stated))])


def _markdown_cell(text: str) -> str:
    """Return a text that stays in its cell: a line break or a vertical bar would end it, and a backslash frees one."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def comma_separated(comparison: Comparison) -> str:
    """Return the comparison as CSV (RFC 4180) with a head line; what is unknown or too uncertain is empty."""
    import csv
    import io

    rows = [_values(row) for row in comparison.rows]
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().rstrip("\n")


def _values(row: Row) -> dict[str, object]:
    item, change = row.measurement, row.p50_change
    return {
        "label": row.label, "artifact": item.artifact, "artifact_sha256": item.artifact_sha256,
        "device": item.device.name,
        "model": item.model, "format": item.format, "precision": item.precision, "height": item.input_size[0],
        "width": item.input_size[1], "engine": item.engine, "engine_version": item.engine_version,
        "threads": item.threads, "size_mb": row.size_mb, "p50_ms": row.p50_ms, "p99_ms": row.p99_ms,
        "baseline": row.baseline, "speed_up": row.speed_up, "infer_speed_up": row.infer_speed_up,
        "p50_change": change and change.change, "p50_change_low": change and change.low,
        "p50_change_high": change and change.high, "p50_verdict": change and change.verdict, "miou": row.miou,
        "miou_change": row.miou_change, "on_front": int(row.on_front), "created": item.created,
    }  # fmt: skip


def _columns(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Return the columns to show, the rows, and what all rows have in common, for the title."""
    cells = [_cells(row) for row in comparison.rows]
    values = {name: {row[index] for row in cells} for index, name in enumerate(COLUMNS)}
    stated = [name for name in _STATED_ONCE if len(values[name]) == 1]
    empty = [name for name, found in values.items() if name == "p50 change" and found == {""}]
    kept = [index for index, name in enumerate(COLUMNS) if name not in (*stated, *empty)]
    common = "".join(f"; {name} {next(iter(values[name]))}" for name in stated)
    return tuple(COLUMNS[i] for i in kept), [tuple(row[i] for i in kept) for row in cells], common


def _fitting(
    columns: tuple[str, ...], rows: list[tuple[str, ...]], *, width: int
) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]]:
    """Return the columns and rows without those that do not fit into `width` characters, and the columns left out."""
    left_out: list[str] = []
    kept = list(range(len(columns)))
    for name in _LEAST_WANTED:
        needed = sum(max(len(columns[i]), *(len(row[i]) for row in rows)) + _PADDING for i in kept)
        if needed <= width:
            break
        if name in columns:
            left_out.append(name)
            kept.remove(columns.index(name))
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in rows], tuple(left_out)


def _cells(row: Row) -> tuple[str, ...]:
    item = row.measurement
    timed = row.p50_ms is not None
    return (
        row.label,
        item.device.name,
        item.model,
        f"{item.input_size[0]}x{item.input_size[1]}",
        f"{item.engine} {item.threads}T",
        f"{row.size_mb:.2f}",
        _number(row.p50_ms, ".2f"),
        "too few" if timed and row.p99_ms is None else _number(row.p99_ms, ".2f"),
        _times(row.speed_up),
        _times(row.infer_speed_up),
        _p50_change(row.p50_change),
        _number(None if row.miou is None else 100 * row.miou, ".2f"),
        _number(None if row.miou_change is None else 100 * row.miou_change, "+.2f"),
        "*" if row.on_front else "",
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _p50_change(found: LatencyChange | None) -> str:
    """Return "slower +10.1 % (9.1 to 10.8)", or "" where there are no raw samples to judge by."""
    if found is None:
        return ""
    return f"{found.verdict} {100 * found.change:+.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"
