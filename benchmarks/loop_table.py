"""The README's table of the camera loop, from benchmarks/results/loop.

Usage: python benchmarks/loop_table.py
"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "loop"
SIZES = ("384x480", "512x1024")
HEAD = (
    "| artifact | engine | input | frames | loop FPS | of the engine alone | times a plain loop |",
    "|---|---|---|---:|---:|---:|---:|",
)


def rows(what: str, size: str) -> dict[str, dict]:
    """Return the stored rows of one benchmark by their artifacts."""
    stored = json.loads((RESULTS / f"{what}-{size}.json").read_text("utf-8"))
    return {row["artifact"]: row for row in stored}


def table() -> str:
    """Return the table in Markdown."""
    lines = list(HEAD)
    for size in SIZES:
        loops, plain = rows("loop", size), rows("plain_loop", size)
        for name, row in loops.items():
            height, width = row["input"]
            lines.append(
                f"| {name} | {row['engine']} {row['threads']}T | {width}x{height} | {row['frames']} | "
                f"{row['loop_fps']:.0f} | {row['ratio']:.2f} | {plain[name]['ratio']:.2f}x |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
