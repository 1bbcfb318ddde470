"""What the calibration doctor found, as one HTML page."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import write_whole
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.verbs.calibrate import Calibration

_WIDTH, _HEIGHT, _MARGIN = 560, 220, 44
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.blocking{color:#b3261e;font-weight:600}svg{max-width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:currentColor}svg .line{fill:none;stroke:#2563eb;stroke-width:2}
svg .axis{stroke:currentColor;stroke-opacity:.4}svg circle{fill:#2563eb}
@media (prefers-color-scheme:dark){body{color:#dde3ea;background:#14181e}.blocking{color:#ff8a80}}
"""


def write_page(found: Calibration, path: Path | str) -> Path:
    """Return the HTML file with the doctor's findings, the curve of the ranges, and the classes that were seen.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(render_page(found).encode(), path)
    except OSError as error:
        raise InputError(f"{path}: the page cannot be written: {error.strerror}.") from None
    return path


def render_page(found: Calibration) -> str:
    """Return the page; every text from the images' names is escaped."""
    chosen = found.ranges.calibration
    findings = "".join(
        f'<li class="{item.severity}">{escape(item.severity)}: {escape(item.text)}</li>' for item in found.findings
    )
    pixels = sum(chosen.class_pixels) or 1
    rows = "".join(
        f"<tr><td>{escape(name)}<td class=n>{count / pixels:.2%}</tr>"
        for name, count in zip(found.classes, chosen.class_pixels, strict=True)
    )
    title = escape(f"Calibration of {found.model}")
    facts = (
        f"{len(chosen.item_ids)} images of {chosen.source} ({chosen.split}), selection {chosen.selection}, seed "
        f"{chosen.seed}, observer {found.ranges.observer}, licence {chosen.licence or 'unknown'}."
    )
    body = (
        f"<h1>{title}</h1><p>{escape(facts)}</p><h2>Findings</h2><ul>{findings or '<li>Nothing to report.</li>'}</ul>"
        "<h2>Ranges by number of images</h2><p>Mean width of the ranges, as a share of their width on all images. "
        f"Where the curve still rises at its end, more images help.</p>{curve_plot(found.curve)}"
        f"<h2>Classes that the model saw</h2><table><tr><th>class<th class=n>cells</tr>{rows}</table>"
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n"


def curve_plot(curve: Sequence[tuple[int, float]]) -> str:
    """Return the curve as SVG, one step a doubling of the images; empty for fewer than two points."""
    if len(curve) < 2:
        return ""
    step = (_WIDTH - 2 * _MARGIN) / (len(curve) - 1)
    floor = _HEIGHT - _MARGIN
    places = [(_MARGIN + index * step, floor - share * (floor - 16)) for index, (_, share) in enumerate(curve)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{count}</text>'
        f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{share:.0%}</text>'
        for (x, y), (count, share) in zip(places, curve, strict=True)
    )
    axis = f'<path class="axis" d="M{_MARGIN} {floor}H{_WIDTH - _MARGIN}"/>'
    caption = f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">images</text>'
    alt = f"Mean width of the ranges from {curve[0][1]:.0%} on {curve[0][0]} images to all of it on {curve[-1][0]}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{alt}">{axis}'
        f'<polyline class="line" points="{line}"/>{marks}{caption}</svg>'
    )
