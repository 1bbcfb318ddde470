"""`edgeseg data check DATA`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.data.survey import SplitSurvey, Survey

HELP = "look a data set over: sizes, class pixels, unusable files, images in two splits"
SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import positive

    parser.add_argument("action", choices=("check",), help="check: read every sample and report")
    parser.add_argument("data", metavar="DATA", help="a folder, a dataset.toml, or READER:PLACE, such as coco:DIR")
    parser.add_argument(
        "--split", metavar="S", action="append", help="only this split; may be repeated (default: train, val, test)"
    )
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N samples of each split")
    parser.add_argument("--html", metavar="FILE", type=Path, help="also write a page with thumbnails and their classes")


def run(options: argparse.Namespace) -> int:
    """Print what the data set holds; status 3 where it is not sound (`Survey.sound`)."""
    from edgeseg.cli import render
    from edgeseg.data.paths import SPLITS
    from edgeseg.data.survey import survey

    with render.progress(quiet=options.json) as advance:
        found = survey(options.data, splits=options.split or SPLITS, limit=options.limit, on_progress=advance)
    if options.html is not None:
        from edgeseg.data.survey_page import write_survey

        write_survey(found, options.data, options.html)
    if options.json:
        render.result_json({**render.fields(found), "sound": found.sound})
        return 0 if found.sound else 3
    _show(found, asked=tuple(options.split or ()))
    if options.html is not None:
        render.result(f"Written to {options.html}")
    return 0 if found.sound else 3


def _show(found: Survey, *, asked: tuple[str, ...]) -> None:
    from edgeseg.cli import render

    render.result(f"{found.name}: {len(found.classes)} classes, licence {found.licence}")
    for absent, why in found.absent.items():
        missing = "has no split" in why and absent not in asked
        render.say(f"no {absent} split" if missing else f"{absent}: {why.splitlines()[0]}")
    for split in found.splits:
        _show_split(split)
    for item in found.shared[:SHOWN]:
        render.result(f"in two splits: {item.first} and {item.second} are {item.how}")
    if len(found.shared) > SHOWN:
        render.result(f"in two splits: and {len(found.shared) - SHOWN} more (--json lists all)")
    for line in found.findings:
        render.result(line)
    if not found.findings:
        render.result("Nothing to report.")


def _show_split(split: SplitSurvey) -> None:
    from edgeseg.cli import render

    sizes = ", ".join(f"{size} ({count})" for size, count in list(split.sizes.items())[:4])
    more = f" and {len(split.sizes) - 4} other sizes" if len(split.sizes) > 4 else ""
    title = f"{split.split}: {render.counted(split.images, 'image')}, {sizes or 'none usable'}{more}"
    rows = [(item.name, render.percent_text(item.share), str(item.images)) for item in split.classes]
    rows.append(("(ignored)", render.percent_text(split.ignored), ""))
    columns = ("class", "pixels %", "images")
    render.table(title, columns, rows, numbers=columns[1:])
    for line in split.broken[:SHOWN]:
        render.result(line)
    if len(split.broken) > SHOWN:
        render.result(f"and {len(split.broken) - SHOWN} more (--json lists all)")
