"""`edgeseg inspect --sensitivity`: each layer's cost as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run_sensitivity(options: argparse.Namespace) -> int:
    """Measure what each layer alone costs, and print it, most expensive first."""
    if options.sensitivity == "prune":
        return _pruned(options)
    from edgeseg.analyze.quant_debug import int8_sensitivity
    from edgeseg.cli import render

    with render.progress(quiet=options.json) as advance:
        found = int8_sensitivity(
            options.model,
            data=options.data,
            split=options.split,
            count=options.count,
            out=options.out,
            on_progress=advance,
        )
    if options.json:
        render.result_json(found)
        return 0
    order = sorted(found.layers, key=lambda item: -(item.labels_changed if item.miou_lost is None else item.miou_lost))
    rows = [
        (item.layer, render.percent_text(item.labels_changed), render.percent_text(item.miou_lost)) for item in order
    ]
    title = f"{found.model}: only this layer in int8, on {found.images} images of {found.data}"
    columns = ("layer", "labels changed %", "mIoU lost, points")
    render.table(title, columns, rows, numbers=columns[1:])
    for path in found.files:
        render.result(f"written: {path}")
    return 0


def _pruned(options: argparse.Namespace) -> int:
    from edgeseg.analyze.quant_debug import prune_sensitivity
    from edgeseg.cli import render

    with render.progress(quiet=options.json) as advance:
        scan, files = prune_sensitivity(
            options.model,
            data=options.data,
            split=options.split,
            count=options.count,
            out=options.out,
            on_progress=advance,
        )
    if options.json:
        render.result_json(scan)
        return 0
    rows = [
        (
            item.group,
            f"{item.removed} of {item.channels}",
            render.percent_text(1 - item.agreement),
            render.percent_text(scan.miou - item.miou),
            render.percent_text(item.macs_saved),
        )
        for item in scan.losses
    ]
    columns = ("group", "channels removed", "labels changed %", "mIoU lost, points", "MACs saved %")
    render.table(f"{scan.checkpoint}: only this group pruned, {scan.images} images", columns, rows, numbers=columns[1:])
    for path in files:
        render.result(f"written: {path}")
    return 0
