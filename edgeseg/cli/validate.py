"""`edgeseg validate ARTIFACT|MODEL --data DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.core.metric_value import MetricValue
    from edgeseg.verbs.validate import Validation

HELP = "measure mIoU, per-class IoU, pixel accuracy, Dice and boundary F1 on a data set"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, add_trust, add_weights, positive
    from edgeseg.cli.remote import add_device_option

    parser.add_argument(
        "subject", metavar="ARTIFACT|MODEL", help="artifact folder, model name, checkpoint, or package.module:factory"
    )
    add_weights(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        default="streets",
        help="data set folder, or streets[:count[:seed]] (default: streets)",
    )
    parser.add_argument("--split", default="val", help="train, val or test (default: val)")
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N images (default: all)")
    add_device_option(parser)
    add_engine(parser)
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Validate, and print the scores."""
    from edgeseg.cli import render
    from edgeseg.cli.options import check_origin
    from edgeseg.cli.remote import remote_names, run_and_show
    from edgeseg.core.artifact import MANIFEST
    from edgeseg.core.metric_value import metric_title
    from edgeseg.verbs.validate import validate

    if names := remote_names(options):
        return run_and_show(options, names)
    subject = Path(options.subject)
    check_origin([subject] if (subject / MANIFEST).exists() else [], options=options)
    with render.progress(quiet=options.json) as advance:
        found = validate(
            options.subject,
            weights=options.weights,
            spec=options.spec,
            data=options.data,
            split=options.split,
            limit=options.limit,
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
        )
    if found.notice:
        render.say(found.notice)
    for finding in found.findings:
        render.say(f"data: {finding}")
    if options.json:
        render.result_json(_json(found))
        return 0
    accuracy = found.accuracy
    per_class = [name for name, value in accuracy.metrics.items() if value.per_class]
    rows = [
        (label, *(render.percent_text(accuracy.per_class(name).get(label)) for name in per_class))
        for label in accuracy.per_class("miou")
    ]
    columns = ("class", *(f"{metric_title(name)} %" for name in per_class))
    title = f"{found.subject} on {accuracy.data} {accuracy.split}, {accuracy.images} images, {found.engine}"
    render.table(title, columns, rows, numbers=columns[1:])
    render.result("   ".join(f"{metric_title(name)} {_shown(value)}" for name, value in accuracy.metrics.items()))
    if found.classes_scored < len(accuracy.per_class("miou")):
        render.result(f"Means are over {found.classes_scored} of {len(accuracy.per_class('miou'))} classes.")
    for note in accuracy.notes:
        render.say(f"Note: {note}")
    return 0


def _json(found: Validation) -> dict[str, object]:
    """Return the words that scripts rely on beside the record's own."""
    from edgeseg.cli import render

    accuracy = found.accuracy
    return {
        "schema": 2,
        "subject": found.subject,
        "engine": found.engine,
        "miou": accuracy.value("miou"),
        "pixel_accuracy": accuracy.value("pixel_accuracy"),
        "per_class_iou": accuracy.per_class("miou"),
        **render.fields(accuracy),
        "notes": accuracy.notes,
        "classes_scored": found.classes_scored,
        "findings": found.findings,
    }


def _shown(value: MetricValue) -> str:
    from edgeseg.cli import render

    return f"{render.percent_text(value.value)} %" if value.unit == "fraction" else f"{value.value:.4g} {value.unit}"
