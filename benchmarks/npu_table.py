"""Nets on NPU targets: ops on the NPU, the compiler's estimate, size, agreement and seconds, stored and as a table.

    python benchmarks/npu_table.py --out benchmarks/npu/table.json [--table docs/npus.md] [TARGET ...]

Needs the toolchains of the targets (edgeseg toolchain install NAME). --nets also takes checkpoint folders, such as one
of `edgeseg check --rewrite`, whose ranges are observed on --calibration.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from edgeseg import convert
from edgeseg.core.files import write_whole
from edgeseg.core.placement import CPU

NETS = ("fast_scnn:camvid", "lraspp_mobilenet_v3_small:camvid-relu", "bisenet_v2:camvid-int8")
TARGETS = ("corstone-300", "corstone-320", "imx93", "snapdragon-8-elite", "jetson-orin-nano")
GPU_FORMATS = {"jetson-orin-nano": "tensorrt-onnx"}
"""The format for the GPU of a target whose first backend is its CPU. Its engine is built on the device."""
BEGIN, END = "<!-- npu table -->", "<!-- end of npu table -->"


def measured(net: str, target: str, *, work: Path, images: str | None = None) -> dict[str, object]:
    started = time.perf_counter()
    (made,) = convert(
        net,
        target=GPU_FORMATS.get(target, target),
        precision="int8",
        calibration=images if Path(net).is_dir() else None,
        out=work / f"{Path(net).name}-{target}",
    )
    manifest = made.manifest
    placed = any(item.unit for item in manifest.placements)
    left = Counter(item.op for item in manifest.placements if placed and item.unit in ("", CPU))
    estimate = manifest.report.estimate
    return {
        "net": manifest.spec.name,
        "size": "x".join(map(str, manifest.inputs[0].size)),
        "target": target,
        "ops": len(manifest.placements),
        "on_npu": len(manifest.placements) - sum(left.values()) if placed else None,
        "in_int8": manifest.report.ops_quantized,
        "on_cpu": dict(left),
        "estimate": None if estimate is None else dataclasses.asdict(estimate),
        "size_bytes": made.size_bytes,
        "agreement": manifest.parity.label_agreement,
        "images": manifest.parity.images,
        "proof": manifest.proof.level,
        "proof_engine": manifest.parity.engine,
        "seconds": round(time.perf_counter() - started, 1),
        "tools": manifest.report.tool_versions,
    }


def table(rows: list[dict]) -> str:
    lines = [
        "| net, input | target | ops on the NPU | estimate, CPU ops left out | SRAM + DRAM, KiB | file, MB | as float "
        "| proof | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        estimate = row["estimate"]
        left = ", ".join(f"{count} {name}" for name, count in row["on_cpu"].items())
        expected, memory = "none", "-"
        if estimate is not None:
            expected = f"{estimate['latency_ms']:.1f} ms{f' without {left}' if left else ''}"
            memory = f"{estimate['sram_kib']:.0f} + {estimate['dram_kib']:.0f}"
        ops = f"{row['on_npu']} of {row['ops']}"
        if row["on_npu"] is None:
            ops = f"not placed here; {row['in_int8']} of {row['ops']} in int8"
        lines.append(
            f"| {row['net']}, {row['size']} | {row['target']} | {ops} "
            f"| {expected} | {memory} | {row['size_bytes'] / 1e6:.2f} "
            f"| {100 * row['agreement']:.2f} % ({row['images']} images) | {row['proof']} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--nets", nargs="*", default=NETS)
    parser.add_argument("--calibration", help="images of a checkpoint folder, such as streets:16")
    options = parser.parse_args()
    stored = json.loads(options.out.read_text()) if options.out.is_file() else {"rows": []}
    rows = {(row["net"], row["target"]): row for row in stored["rows"]}
    with tempfile.TemporaryDirectory() as folder:
        for net in options.nets:
            for target in options.targets:
                row = measured(net, target, work=Path(folder), images=options.calibration)
                rows[row["net"], row["target"]] = row
                content = {
                    "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "machine": f"{platform.system()} {platform.machine()}, shared: seconds are upper bounds",
                    "rows": list(rows.values()),
                }
                write_whole((json.dumps(content, indent=1) + "\n").encode(), options.out)
    if options.table:
        text = options.table.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        options.table.write_text(f"{before}{BEGIN}\n{table(list(rows.values()))}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
