"""The tables of README.md and docs/benchmarks.md, from the stored measurements.

Usage: python benchmarks/tables.py    writes each between its markers
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from edgeseg.bench import read_measurements
from edgeseg.bench.compare import Comparison, compare
from edgeseg.cli.compare import markdown

TOP = Path(__file__).resolve().parents[1]
LOOP = TOP / "benchmarks" / "results" / "loop"
SIZES = ("384x480", "512x1024")
CAMERA_SIZES = ("720x1280", "1080x1920")
FAMILIES = ("fast_scnn", "lraspp_mobilenet_v3_small")
SUMMARY = ("fast_scnn-camvid-half", "lraspp_mobilenet_v3_small-camvid-relu")
ENGINES = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def compressed(family: str) -> Comparison:
    """Return the comparison of a family's compressed nets with the uncompressed one."""
    folder = TOP / "benchmarks" / "results-compression" / family
    return compare(read_measurements([folder]), baseline=f"{family}-camvid")


def loop_rows(what: str, size: str) -> dict[str, dict]:
    """Return the stored rows of one loop benchmark by their artifacts."""
    stored = json.loads((LOOP / f"{what}-{size}.json").read_text("utf-8"))
    return {row["artifact"]: row for row in stored}


def loop_table() -> str:
    """Return the table of the camera loop."""
    lines = [
        "| artifact | engine | input | frames | loop FPS | of the engine alone | times a plain loop |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for size in SIZES:
        loops, plain = loop_rows("loop", size), loop_rows("plain_loop", size)
        lines += [
            f"| {name} | {row['engine']} {row['threads']}T | {size} | {row['frames']} | "
            f"{row['loop_fps']:.0f} | {row['ratio']:.2f} | {plain[name]['ratio']:.2f}x |"
            for name, row in loops.items()
        ]
    return "\n".join(lines)


def sizes_table() -> str:
    """Return the table of the camera loop on videos of common camera sizes."""
    lines = [
        "| engine | image | output | loop FPS | engine alone | decoder alone | of the slower | "
        "CPU ms: capture | preprocess | engine | decode, draw | sinks | all | two cores' limit FPS |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in CAMERA_SIZES:
        for row in json.loads((LOOP / f"loop-{size}.json").read_text("utf-8")):
            cpu = row["cpu_ms"]
            stages = (cpu[name] for name in ("capture", "preprocess", "engine", "decode and draw", "sinks"))
            lines.append(
                f"| {ENGINES[row['engine']]} | {row['image'][1]}x{row['image'][0]} | {row['output']} | "
                f"{row['loop_fps']:.0f} | {row['engine_fps']:.0f} | {row['decoder_fps']:.0f} | "
                f"{row['ratio_to_slower']:.2f} | "
                + " | ".join(f"{value:.1f}" for value in (*stages, sum(cpu.values())))
                + f" | {2000 / sum(cpu.values()):.0f} |"
            )
    return "\n".join(lines)


def summary_table() -> str:
    """Return the README's table: the int8 artifacts of two compressed nets."""
    lines = ["| net | engine | MB | engine speed-up | mIoU % | change |", "|---|---|---:|---:|---:|---:|"]
    for family, model in zip(FAMILIES, SUMMARY, strict=True):
        for row in compressed(family).rows:
            item = row.measurement
            if item.model != model or item.precision != "int8":
                continue
            assert row.infer_speed_up is not None
            assert row.miou is not None
            assert row.miou_change is not None
            lines.append(
                f"| {model} | {ENGINES[item.engine]} | {row.size_mb:.2f} | {row.infer_speed_up:.1f}x | "
                f"{100 * row.miou:.1f} | {100 * row.miou_change:+.1f} |"
            )
    return "\n".join(lines)


def tables() -> dict[str, dict[str, str]]:
    """Return the tables by file and marker."""
    return {
        "README.md": {"summary": summary_table()},
        "docs/benchmarks.md": {
            "table": markdown(compare(read_measurements([TOP / "benchmarks" / "results"]))),
            **{family: markdown(compressed(family)) for family in FAMILIES},
            "loop": loop_table(),
            "sizes": sizes_table(),
        },
    }


def main() -> None:
    """Write every table between its markers."""
    for name, found in tables().items():
        text = (TOP / name).read_text("utf-8")
        for marker, table in found.items():
            begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
            text = re.sub(f"{begin}.*?{end}", lambda _, t=table, b=begin, e=end: f"{b}{t}\n{e}", text, flags=re.DOTALL)
        (TOP / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
