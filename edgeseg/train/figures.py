"""Figures of a run: the curves of loss and mIoU, and predictions on the same validation images at every evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Sample

CURVES, PREDICTIONS = "curves.png", "predictions"
SHOWN_PREDICTIONS = 4
"""Validation images of which predictions are drawn."""
_ROW = 160
"""Height in pixels of an image among the predictions."""
_HEAD = 20
_OPACITY = 0.6
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _MARGIN = 640, 360, 48
_INK, _GRID, _LOSS, _MIOU = (60, 60, 60), (225, 225, 225), (180, 120, 40), (50, 80, 220)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One epoch of a run; `miou` is a fraction, None where the epoch was not evaluated."""

    epoch: int
    loss: float
    miou: float | None


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """Return the last `width` values as one line of blocks, the lowest and the highest of them at the ends.

    >>> sparkline([0.1, 0.2, 0.3, 0.45])
    '▁▃▅█'
    """
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) or 1.0
    return "".join(_BLOCKS[round((value - low) / step * (len(_BLOCKS) - 1))] for value in shown)


def text_curve(values: Sequence[float], *, width: int = 60, height: int = 8) -> str:
    """Return fractions as a curve in percent, `height` lines of text with their scale at the left."""
    columns = [float(item.mean()) for item in np.array_split(np.array(values), min(width, len(values)))]
    low, high = min(columns), max(columns)
    step = (high - low) / (height - 1) or 1.0
    rows = [round((value - low) / step) for value in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        marks = "".join("*" if item == row else " " for item in rows)
        lines.append(f"{100 * (low + row * step):6.2f} % |{marks}".rstrip())
    return "\n".join(lines)


def spread_indices(count: int, *, wanted: int = SHOWN_PREDICTIONS) -> tuple[int, ...]:
    """Return at most `wanted` indices of `count`, evenly spread and the same each time."""
    return tuple(dict.fromkeys(int(index) for index in np.linspace(0, count - 1, min(wanted, count))))


def draw_predictions(samples: Sequence[Sample], predicted: Sequence[NDArray[np.uint8]], *, spec: ModelSpec) -> bytes:
    """Return a PNG with a row for each sample: the image, its labels, and the prediction (H, W) uint8, under names."""
    colours = np.full((256, 3), 128, np.uint8)
    colours[: len(spec.palette)] = np.array(spec.palette, np.uint8)[:, ::-1]
    rows = []
    for sample, labels in zip(samples, predicted, strict=True):
        size = max(1, round(sample.image.shape[1] * _ROW / sample.image.shape[0])), _ROW
        image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
        maps = [cv2.resize(item, size, interpolation=cv2.INTER_NEAREST) for item in (sample.labels, labels)]
        drawn = [cv2.addWeighted(image, 1 - _OPACITY, colours[item], _OPACITY, 0) for item in maps]
        rows.append(cv2.hconcat([image, *drawn]))
    widest = max(row.shape[1] for row in rows)
    head = np.full((_HEAD, widest, 3), 255, np.uint8)
    for column, name in enumerate(("image", "labels", "prediction")):
        _write(head, name, (column * rows[0].shape[1] // 3 + 4, _HEAD - 6), _INK)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    return _png(cv2.vconcat([head, *padded]))


def draw_curves(points: Sequence[CurvePoint]) -> bytes:
    """Return a PNG of the training loss and the validation mIoU over the epochs, each on its own scale."""
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    last = max(point.epoch for point in points)
    for part in range(5):
        y = _place(part / 4)
        cv2.line(canvas, (_MARGIN, y), (_WIDTH - _MARGIN, y), _GRID, 1)
    scored = [(point.epoch, point.miou) for point in points if point.miou is not None]
    _curve(canvas, [(point.epoch, point.loss) for point in points], last=last, colour=_LOSS, left=True)
    if scored:
        _curve(canvas, scored, last=last, colour=_MIOU, left=False, percent=True)
    _write(canvas, "train loss", (_MARGIN, 20), _LOSS)
    _write(canvas, "val mIoU %", (_WIDTH - _MARGIN - 78, 20), _MIOU)
    _write(canvas, "epoch 1", (_MARGIN, _HEIGHT - 12), _INK)
    _write(canvas, f"epoch {last}" if last > 1 else "", (_WIDTH - _MARGIN - 60, _HEIGHT - 12), _INK)
    return _png(canvas)


def _curve(
    canvas: NDArray[np.uint8],
    values: Sequence[tuple[int, float]],
    *,
    last: int,
    colour: tuple[int, int, int],
    left: bool,
    percent: bool = False,
) -> None:
    numbers = [value for _, value in values]
    low, high = min(numbers), max(numbers)
    if low == high:  # one value lies in the middle of a scale around it
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    span = high - low
    across = (_WIDTH - 2 * _MARGIN) / max(1, last - 1)
    places = [(round(_MARGIN + (epoch - 1) * across), _place((value - low) / span)) for epoch, value in values]
    cv2.polylines(canvas, [np.array(places, np.int32)], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
    for place in places if len(places) <= 40 else places[-1:]:
        cv2.circle(canvas, place, 3, colour, cv2.FILLED, cv2.LINE_AA)
    for share, value in ((0.0, low), (1.0, high)):
        shown = f"{100 * value:.1f}" if percent else f"{value:.3g}"
        _write(canvas, shown, (4 if left else _WIDTH - _MARGIN + 4, _place(share) + 4), colour)


def _place(share: float) -> int:
    """Return the row of a share of the scale, 0 at the bottom."""
    return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN))


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


def _png(image: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def prediction_file(folder: Path, epoch: int) -> Path:
    """Return the file of an epoch's predictions in a run's folder."""
    return folder / PREDICTIONS / f"epoch-{epoch:04d}.png"
