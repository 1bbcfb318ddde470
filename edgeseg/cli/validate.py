"""`edgeseg validate ARTIFACT|MODEL --data DIR`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "measure mIoU, per-class IoU, pixel accuracy, Dice and boundary F1 on a data set"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, positive

    parser.add_argument("subject", metavar="ARTIFACT|MODEL", help="artifact folder, or a model name or checkpoint")
    parser.add_argument(
        "--data",
        metavar="DIR",
        default="streets",
        help="data set folder, or streets[:count[:seed]] (default: streets)",
    )
    parser.add_argument("--split", default="val", help="train, val or test (default: val)")
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N images (default: all)")
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Validate, and print the scores."""
    from edgeseg.cli import render
    from edgeseg.verbs.validate import validate

    with render.progress(quiet=options.json) as advance:
        found = validate(
            options.subject,
            data=options.data,
            split=options.split,
            limit=options.limit,
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
        )
    if found.notice:
        render.say(found.notice)
    if options.json:
        render.result_json({**render.encode(found.accuracy), "subject": found.subject, "engine": found.engine})  # type: ignore[dict-item]
        return 0
    accuracy = found.accuracy
    rows = [
        (name, render.percent(iou), render.percent(accuracy.per_class_dice.get(name)))
        for name, iou in accuracy.per_class_iou.items()
    ]
    title = f"{found.subject} on {accuracy.data} {accuracy.split}, {accuracy.images} images, {found.engine}"
    render.table(title, ("class", "IoU %", "Dice %"), rows, numbers=("IoU %", "Dice %"))
    render.result(
        f"mIoU {render.percent(accuracy.miou)} %   pixel accuracy {render.percent(accuracy.pixel_accuracy)} %   "
        f"Dice {render.percent(accuracy.mean_dice)} %   boundary F1 {render.percent(accuracy.boundary_f1)} %"
    )
    return 0
