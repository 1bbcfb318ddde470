"""`edgeseg calibrate [MODEL] --data DIR|SET [--temperature]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.cli.options import UsageError

if TYPE_CHECKING:
    import argparse

HELP = "observe a model's activation ranges once, so that its int8 conversions need no data; or fit its temperature"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive, whole
    from edgeseg.core.registry import names

    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a checkpoint folder or a bundled name (default: fast_scnn:streets-half)",
    )
    parser.add_argument("--data", metavar="DIR|SET", required=True, help="train images, or streets[:count[:seed]]")
    parser.add_argument("--count", metavar="N", type=positive, default=64, help="images to select (default: 64)")
    parser.add_argument(
        "--temperature",
        action="store_true",
        help="instead fit the temperature that calibrates --uncertainty, on the labels of --data",
    )
    parser.add_argument("--split", metavar="S", help="labelled images for --temperature (default: val)")
    parser.add_argument("--seed", metavar="N", type=whole, default=0, help="of the selection (default: 0)")
    parser.add_argument(
        "--selection", metavar="KIND", default="mixed", help=f"how to choose images: {', '.join(names('selections'))}"
    )
    parser.add_argument(
        "--observer",
        metavar="KIND",
        default="auto",
        help=f"how to choose each range: {', '.join(names('observers'))}, or auto (what keeps most labels)",
    )
    parser.add_argument("--check", action="store_true", help="examine the images and write no ranges")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write what the doctor found as a page, too")
    parser.add_argument(
        "--ignore-findings", action="store_true", help="calibrate although a finding says that the images are wrong"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write (default: ranges.json or temperature.json in the checkpoint)",
    )
    parser.add_argument(
        "--float-layers", metavar="PATH", nargs="+", default=[], help="modules that int8 conversions leave in float"
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out images that cannot be read, and list them"
    )
    parser.add_argument("--allow-held-out", action="store_true", help="use val or test images anyway")


def run(options: argparse.Namespace) -> int:
    """Calibrate, and print what the ranges were observed on."""
    if options.temperature:
        return _fit(options)
    if options.split:
        raise UsageError("--split goes with --temperature; for ranges, --data is the folder of images.")
    if options.check and (options.out or options.float_layers):
        raise UsageError("--check writes no ranges: it takes neither --out nor --float-layers.")
    from edgeseg.cli import render
    from edgeseg.verbs.calibrate import calibrate

    with render.progress(quiet=options.json) as advance:
        done = calibrate(
            options.model,
            data=options.data,
            count=options.count,
            seed=options.seed,
            selection=options.selection,
            observer=options.observer,
            allow_held_out=options.allow_held_out,
            skip_broken=options.skip_broken,
            ignore_findings=options.ignore_findings,
            check_only=options.check,
            float_layers=tuple(options.float_layers),
            out=options.out,
            on_progress=advance,
        )
    if options.html:
        from edgeseg.verbs.calibration_page import write_page

        render.say(f"page: {write_page(done, options.html)}")
    blocked = options.check and done.blocked and not options.ignore_findings
    if options.json:
        render.result_json(
            {
                "path": None if done.path is None else str(done.path),
                "findings": [item.text for item in done.findings],
                "doctor": done.findings,
                "curve": done.curve,
                "calibration": done.ranges.calibration,
            }
        )
        return 3 if blocked else 0
    for finding in done.findings:
        render.say(f"calibration: {'BLOCKING: ' if finding.severity == 'blocking' else ''}{finding}")
    found = done.ranges.calibration
    seen = f"{len(found.item_ids)} images of {found.source} ({found.split}, {found.selection})"
    if done.path is None:
        render.result(f"{seen}: {len(done.findings)} findings, {'blocking' if done.blocked else 'none blocking'}")
    else:
        render.result(f"{done.path}: {len(done.ranges.ranges)} ranges from {seen}")
    return 3 if blocked else 0


def _fit(options: argparse.Namespace) -> int:
    from edgeseg.cli import render
    from edgeseg.verbs.temperature import calibrate_temperature

    ranges_only = (options.float_layers, options.allow_held_out, options.seed, options.check, options.html)
    if any(ranges_only) or options.selection != "mixed" or options.observer != "auto":
        raise UsageError(
            "--float-layers, --allow-held-out, --seed, --selection, --observer, --check and --html are for ranges; "
            "--temperature takes none of them."
        )
    with render.progress(quiet=options.json) as advance:
        done = calibrate_temperature(
            options.model,
            data=options.data,
            split=options.split or "val",
            count=options.count,
            out=options.out,
            on_progress=advance,
        )
    found = done.temperature
    if options.json:
        render.result_json({"path": str(done.path), "temperature": found})
        return 0
    render.result(
        f"{done.path}: temperature {found.fitted:.3f} from {found.images} images of {found.data} ({found.split}); "
        f"its halves give {found.halves[0]:.3f} and {found.halves[1]:.3f}"
    )
    render.result(
        f"Each half with the other's: NLL {found.nll_before:.4f} to {found.nll_after:.4f}, "
        f"ECE {render.percent_text(found.ece_before)} to {render.percent_text(found.ece_after)} %"
    )
    if found.value != found.fitted:
        render.result("No gain on held-out images: 1 is kept, because the net is calibrated already.")
    return 0
