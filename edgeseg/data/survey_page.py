"""A survey as one HTML page: tables, findings, and thumbnails with their classes drawn over them."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.core.files import write_whole
from edgeseg.core.palette import voc_colour
from edgeseg.data.survey import SplitSurvey, Survey, open_splits
from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.data.dataset import Dataset, Sample

PAGE_WIDTH, EACH = 320, 12
IGNORED = (120, 120, 120)
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
figure{margin:0}figure img{width:100%;display:block}figcaption{font-size:.8rem;overflow-wrap:anywhere}
.key span{display:inline-block;margin-right:1rem}.key i{display:inline-block;width:1em;height:1em;margin-right:.4em}
@media (prefers-color-scheme:dark){body{color:#dde3ea;background:#14181e}}
"""


def write_survey(found: Survey, text: str, path: Path | str) -> Path:
    """Return the HTML file with a survey of the data set that `text` names; images are embedded.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    opened, _ = open_splits(text, splits=[split.split for split in found.splits])
    page = render_survey(found, opened)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page.encode(), path)
    except OSError as error:
        raise InputError(f"{path}: the page cannot be written: {error.strerror}.") from None
    return path


def render_survey(found: Survey, opened: dict[str, Dataset]) -> str:
    """Return the page; every text from the data set is escaped."""
    findings = "".join(f"<li>{escape(line)}</li>" for line in found.findings) or "<li>Nothing to report.</li>"
    shared = "".join(
        f"<li>{escape(item.first)} and {escape(item.second)}: {escape(item.how)}</li>" for item in found.shared
    )
    body = [f"<h1>{escape(found.name)}</h1><p>Licence: {escape(found.licence)}</p><h2>Findings</h2><ul>{findings}</ul>"]
    if shared:
        body.append(f"<h2>Images in two splits</h2><ul>{shared}</ul>")
    body.append(f'<p class="key">{_key(found.classes)}</p>')
    for split in found.splits:
        body.append(f"<h2>{escape(split.split)}: {split.images} images</h2>{_tables(split)}")
        body.append(f'<div class="shots">{_thumbnails(opened[split.split])}</div>')
    title = escape(found.name)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _key(classes: tuple[str, ...]) -> str:
    return "".join(
        f'<span><i style="background:rgb{voc_colour(index + 1)}"></i>{escape(name)}</span>'
        for index, name in enumerate(classes)
    )


def _tables(split: SplitSurvey) -> str:
    rows = "".join(
        f"<tr><td>{escape(item.name)}</td><td class=n>{item.share:.2%}</td><td class=n>{item.images}</td></tr>"
        for item in split.classes
    )
    classes = f"<table><tr><th>class<th class=n>pixels<th class=n>images</tr>{rows}</table>"
    sizes = ", ".join(f"{escape(size)} ({count})" for size, count in list(split.sizes.items())[:8])
    broken = "".join(f"<li>{escape(line)}</li>" for line in split.broken)
    unusable = f"<h3>Cannot be used</h3><ul>{broken}</ul>" if broken else ""
    return f"<p>Sizes: {sizes or 'none'}. Ignored: {split.ignored:.2%} of the pixels.</p>{classes}{unusable}"


def _thumbnails(data: Dataset) -> str:
    places = np.unique(np.linspace(0, len(data) - 1, min(EACH, len(data)), dtype=int)) if len(data) else ()
    shots = []
    for place in places:
        try:
            sample = data.load(int(place))
        except DatasetError:  # listed among those that cannot be used
            continue
        shots.append(
            f'<figure><img alt="" src="data:image/jpeg;base64,{_jpeg(sample, data)}">'
            f"<figcaption>{escape(sample.id)}, {sample.image.shape[0]}x{sample.image.shape[1]}</figcaption></figure>"
        )
    return "".join(shots)


def _jpeg(sample: Sample, data: Dataset) -> str:
    height = max(1, round(sample.image.shape[0] * PAGE_WIDTH / sample.image.shape[1]))
    image = cv2.resize(sample.image, (PAGE_WIDTH, height), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(sample.labels, (PAGE_WIDTH, height), interpolation=cv2.INTER_NEAREST_EXACT)
    colours: NDArray[np.uint8] = np.full((256, 3), IGNORED, np.uint8)
    for index in range(len(data.classes)):
        colours[index] = voc_colour(index + 1)[::-1]
    colours[data.ignore_index] = IGNORED
    side_by_side = np.hstack([image, cv2.addWeighted(image, 0.5, colours[labels], 0.5, 0)])
    _, encoded = cv2.imencode(".jpg", side_by_side, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return base64.b64encode(encoded.tobytes()).decode()
