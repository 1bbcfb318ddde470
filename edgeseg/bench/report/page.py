"""The whole page: its parts in reading order."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench.report import facts, sections, words
from edgeseg.bench.report.colours import colours_of
from edgeseg.bench.report.repeat import repeat
from edgeseg.bench.report.sections import section
from edgeseg.core.files import write_whole
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.bench.compare import Comparison

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportImage:
    """A PNG to show, and what it shows."""

    caption: str
    png: bytes


def write_report(
    comparison: Comparison,
    path: Path | str,
    *,
    title: str | None = None,
    images: Sequence[ReportImage] = (),
) -> Path:
    """Return the HTML file that the report was written to; style, charts and images are embedded.

    Raises:
        InputError: the place cannot be written, or an image is not a PNG.
    """
    path = Path(path)
    text = render_report(comparison, title=title, images=images)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(text.encode(), path)
    except OSError as error:
        raise InputError(f"{path}: the report cannot be written: {error.strerror}.") from None
    return path


def render_report(
    comparison: Comparison,
    *,
    title: str | None = None,
    images: Sequence[ReportImage] = (),
) -> str:
    """Return the report as HTML; `title` defaults to what was compared."""
    rows = comparison.rows
    colours = colours_of(rows)
    heading = title or _title(comparison)
    body = "".join(
        (
            f"<header><p class=brand>edgeseg</p><h1>{escape(heading)}</h1>",
            f"<p class=lead>{escape(_lead(comparison))}</p></header>",
            sections.headline(comparison),
            sections.warning_list(comparison),
            section("Results", sections.result_table(comparison, colours), note=_table_note(comparison)),
            section("Accuracy against latency", sections.front_plot(rows, colours), note=(
                "Up and to the left is better. No other artifact on the device beats those along the line in both.")),
            section("Where the time goes", sections.stage_bars(rows), note="Medians of each stage in milliseconds."),
            section("Accuracy by class", sections.class_table(comparison), note=_class_note(comparison)),
            section("Images", _gallery(images)),
            section("Measured on", facts.measured_on(comparison)),
            section("Engines", facts.engine_table(rows)),
            section("Lineage and licences", facts.lineage_cards(rows)),
            section("Artifacts", facts.artifact_table(rows)),
            section("How to repeat this", repeat(comparison)),
            f"<footer>Written by edgeseg {escape(rows[0].measurement.edgeseg_version)}.</footer>",
        )
    )  # fmt: skip
    style = (files("edgeseg.bench.report") / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(heading)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _title(comparison: Comparison) -> str:
    items = [row.measurement for row in comparison.rows]
    return f"{words.listed(i.model for i in items)} on {words.listed(i.device.name for i in items)}"


def _lead(comparison: Comparison) -> str:
    items = [row.measurement for row in comparison.rows]
    count = f"{len(items)} artifact{'s' if len(items) != 1 else ''}"
    formats = words.listed(item.format for item in items)
    precisions = words.listed(item.precision for item in items)
    day = max(item.created for item in items)[:10]
    sizes = words.listed(words.size_text(item.input_size) for item in items)
    return f"{count} in {formats}, {precisions}, input {sizes}. {day}."


def _table_note(comparison: Comparison) -> str:
    note = f"Speed-up, and change in mIoU (percentage points, negative is worse), are against {comparison.baseline}."
    if any(row.on_front for row in comparison.rows):
        note += " ★: on the Pareto front of its device."
    if any(not row.measurement.latency for row in comparison.rows):
        note += f" {words.NONE}: not measured; a reference engine only checks numbers and is not timed."
    return note


def _class_note(comparison: Comparison) -> str:
    return (
        f"IoU in percent; small figures are the change against {comparison.baseline}, in points. "
        f"{words.NONE}: the class neither occurs nor is predicted, and does not count in the mean."
    )


def _gallery(images: Sequence[ReportImage]) -> str:
    shown = []
    for image in images:
        if not image.png.startswith(_PNG):
            raise InputError(f'The image "{image.caption}" is not a PNG. Encode it with cv2.imencode(".png", image).')
        data = base64.b64encode(image.png).decode("ascii")
        caption = escape(image.caption)
        shown.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(shown)}</div>' if shown else ""
