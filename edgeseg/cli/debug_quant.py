"""`edgeseg debug-quant [MODEL|ARTIFACT]`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.analyze.layer_results import QuantDebug

HELP = "show where int8 diverges from float, layer by layer, and which layers to keep in float"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import fraction, number, positive

    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="an int8 ONNX artifact, a checkpoint or a bundled name"
    )
    parser.add_argument("--checkpoint", metavar="MODEL", help="the float checkpoint of an artifact that is not bundled")
    parser.add_argument("--data", metavar="DIR|SET", help="images to look at (default: rendered streets)")
    parser.add_argument("--split", metavar="NAME", default="train", help="split of --data (default: train)")
    parser.add_argument("--count", metavar="N", type=positive, default=16, help="images to look at (default: 16)")
    parser.add_argument(
        "--below", metavar="DB", type=number, default=20.0, help="SQNR below which they diverge (default: 20)"
    )
    parser.add_argument(
        "--bound",
        metavar="X",
        type=fraction,
        help="find few layers to keep in float so that at most X is lost (share, 0-1)",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="write debug-quant.json and debug-quant.png there")


def run(options: argparse.Namespace) -> int:
    """Print signal to noise by layer, the first that diverges, and the command that keeps layers in float."""
    from edgeseg.analyze.quant_debug import debug_quant
    from edgeseg.cli import render

    with render.progress(quiet=options.json) as advance:
        found = debug_quant(
            options.model,
            checkpoint=options.checkpoint,
            data=options.data,
            split=options.split,
            count=options.count,
            below_db=options.below,
            bound=options.bound,
            out=options.out,
            on_progress=advance,
        )
    if options.json:
        render.result_json(found)
        return 0
    _print(found)
    if found.bound is not None:
        _print_bound(found, options)
    for path in found.files:
        render.result(f"written: {path}")
    return 0


def _print(found: QuantDebug) -> None:
    from edgeseg.cli import render

    title = f"{found.model}: int8 ({found.engine}) against float on {found.images} images of {found.data}"
    rows = [(item.layer, _db(item.sqnr_db), _db(item.own_db)) for item in found.layers]
    render.table(title, ("layer", "SQNR dB", "own dB"), rows, numbers=("SQNR dB", "own dB"))
    if found.diverges_at is None:
        render.result(f"Nowhere below {found.below_db:g} dB.")
    else:
        render.result(f"They diverge first at {found.diverges_at}, below {found.below_db:g} dB.")


def _print_bound(found: QuantDebug, options: argparse.Namespace) -> None:
    from edgeseg.cli import render

    lost, all_int8 = render.percent_text(found.lost), render.percent_text(found.lost_all_int8)
    if not found.float_layers:
        render.result(f"All in int8 loses {all_int8} %, within the bound: no layer has to stay in float.")
        return
    layers = render.counted(len(found.float_layers), "layer")
    render.result(f"All in int8 loses {all_int8} %; with {layers} in float {lost} %.")
    model = options.checkpoint or options.model
    words = ["edgeseg", "calibrate", *([model] if model else []), "--data", options.data or "DIR", "--float-layers"]
    render.result(f"Next: {shlex.join([*words, *found.float_layers])}")


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
