"""`edgeseg predict ARTIFACT IMAGE|FOLDER|PATTERN...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from edgeseg.runtime.tiles.plan import Tiling
    from edgeseg.verbs.predict import Predictions

HELP = "write the label maps of images in files, large ones in overlapping tiles"
_SHOWN = 20
"""Images that the table lists."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from edgeseg.cli.options import add_engine, add_trust, fraction, positive

    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="folder that edgeseg convert wrote")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="file, folder, or pattern in quotes ('scans/**/*.tif')"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("predictions"), help="output folder (default: predictions)"
    )
    parser.add_argument(
        "--tile",
        metavar="HxW",
        default="off",
        help="off: the whole image resized to the net's input, as in validate and run (default); auto: tiles of the "
        "input's size, at full resolution; HxW: tiles of HEIGHTxWIDTH image pixels, each resized to the input",
    )
    parser.add_argument(
        "--overlap",
        metavar="SHARE",
        type=fraction,
        default=0.25,
        help="of a tile with the next, 0 to 0.9 (default: 0.25)",
    )
    parser.add_argument(
        "--tta", metavar="VIEWS", help="average over more views: flip, scales=0.75/1/1.25, or both with a comma"
    )
    parser.add_argument("--palette", action="store_true", help="label maps in class colours (indexed PNG, same values)")
    parser.add_argument("--overlay", action="store_true", help="also write each image with its classes drawn over it")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="skip images that --out holds already")
    earlier.add_argument("--force", action="store_true", help="replace the results that --out holds")
    parser.add_argument("--data", metavar="DIR", help="instead of IMAGE: a data set, whose labels give the mIoU")
    parser.add_argument("--split", default="val", help="of --data: train, val or test (default: val)")
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N images")
    add_engine(parser)
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Predict, and print what was written."""
    from edgeseg.cli import render
    from edgeseg.cli.options import as_usage, check_origin
    from edgeseg.verbs.predict import check_source, predict

    with as_usage():
        check_source(options.images, data=options.data)
    tiling = _tiling(options)
    check_origin((options.artifact,), options=options)
    with render.progress(quiet=options.json) as advance:
        found = predict(
            options.artifact,
            options.images,
            out=options.out,
            tiling=tiling,
            palette=options.palette,
            overlay=options.overlay,
            resume=options.resume,
            force=options.force,
            data=options.data,
            split=options.split,
            limit=options.limit,
            engine=options.engine,
            threads=options.threads,
            on_progress=advance,
            on_fault=lambda why: render.say(f"edgeseg: {why}"),
        )
    if found.notice:
        render.say(found.notice)
    if options.json:
        render.result_json(found)
    else:
        _show(found, options.out)
    if found.interrupted:
        return 130
    return 1 if found.unreadable else 0


def _tiling(options: argparse.Namespace) -> Tiling:
    from edgeseg.cli.options import size_of
    from edgeseg.runtime.tiles.plan import Tiling

    flip, scales = _views(options.tta)
    tile = options.tile if options.tile in ("auto", "off") else size_of(options.tile, option="--tile")
    return Tiling(tile=tile or "off", overlap=options.overlap, flip=flip, scales=scales)


def _views(text: str | None) -> tuple[bool, tuple[float, ...]]:
    """Return whether to flip, and the scales, from `flip,scales=0.75/1/1.25`."""
    from edgeseg.cli.options import UsageError

    flip = False
    scales: tuple[float, ...] = (1.0,)
    for word in (text or "").split(",") if text else ():
        name, _, numbers = word.strip().partition("=")
        refusal = UsageError(f'--tta "{word}" is not flip or scales=A/B/C. Write flip,scales=0.75/1/1.25.')
        if name == "flip" and not numbers:
            flip = True
        elif name == "scales":
            try:
                scales = tuple(float(number) for number in numbers.split("/"))
            except ValueError:
                raise refusal from None
        else:
            raise refusal
    return flip, scales


def _show(found: Predictions, out: Path) -> None:
    from edgeseg.cli import render

    rows = [
        (
            item.image,
            f"{item.size[0]}x{item.size[1]}",
            str(item.runs),
            f"{item.seconds:.2f}",
            "-" if item.seams is None or item.seams.visibility is None else f"{item.seams.visibility:.2f}",
            ", ".join(f"{name} {share:.0%}" for name, share in _largest(item.share)),
        )
        for item in found.images[:_SHOWN]
    ]
    columns = ("image", "HxW", "runs", "s", "seams", "largest classes")
    settings = found.settings
    if rows:
        render.table(f"{settings.artifact} on {settings.engine}", columns, rows, numbers=columns[1:5])
    if len(found.images) > len(rows):
        render.result(f"... and {len(found.images) - len(rows)} more in {out / 'predictions.json'}")
    if any(item.seams is not None for item in found.images):
        render.result("seams: label changes across tile borders over those beside them; 1 is an invisible border")
    score = "" if found.miou is None else f", mIoU {render.percent_text(found.miou)} %"
    resumed = f" ({found.resumed} done before)" if found.resumed else ""
    bad = f", {len(found.unreadable)} unreadable" if found.unreadable else ""
    stopped = ", interrupted: continue with --resume" if found.interrupted else ""
    maps = "1 label map" if len(found.images) == 1 else f"{len(found.images)} label maps"
    render.result(f"{maps} in {out / 'labels'}{resumed}{bad}{score}{stopped}")


def _largest(share: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(share.items(), key=lambda item: -item[1])[:3]
