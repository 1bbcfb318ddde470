"""The Pareto plot as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from edgeseg.bench.report.placing import Box, is_clear, place_labels
from edgeseg.bench.report.words import milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.bench.compare import Row
    from edgeseg.bench.report.colours import Colours

_FONT_PX = 13.0
_LEAST_MARGIN_MS = 1e-4
"""A tick of the records: medians of zero still make an axis."""
_LEAST_SPAN = 0.02
"""The accuracy axis spans at least two points of mIoU, so that noise does not look like a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Maps values to drawing units; `ticks` are the labelled values."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value in drawing units."""
        change: Callable[[float], float] = math.log if self.log else float
        share = (change(value) - change(self.low)) / (change(self.high) - change(self.low))
        return self.start + share * (self.end - self.start)


def pareto_plot(rows: Sequence[Row], *, width: int, height: int, colours: Colours) -> str:
    """Return accuracy over latency of the rows that have both, the front of each device joined, as an SVG.

    The SVG has width x height units. Colour stands for what `colours` tells apart, shape for the precision. Every
    point is labelled with its name, or if the names do not fit, with a number and a list of names below.
    """
    shown = [(row.p50_ms, row.miou, row) for row in rows if row.p50_ms is not None and row.miou is not None]
    frame = Box(46, 14, width - 8, height - 44)
    x = latency_axis([ms for ms, _, _ in shown], start=frame.left, end=frame.right)
    y = accuracy_axis([miou for _, miou, _ in shown], start=frame.bottom, end=frame.top)
    points = [(x(ms), y(miou)) for ms, miou, _ in shown]
    fronts: dict[str, list[tuple[float, float]]] = {}
    for point, (_, _, row) in zip(points, shown, strict=True):
        if row.on_front:
            fronts.setdefault(row.measurement.device.name, []).append(point)
    numbers = {row.measurement.device.name: colours.number(row) for row in rows} if colours.by_device else {}
    corner = Box(frame.left, frame.top, frame.left + 80, frame.top + 18)
    obstacles = [corner, *(box for front in fronts.values() for box in _front_boxes(sorted(front), frame))]
    labels, boxes = _labels([row.label for _, _, row in shown], points, frame=frame, obstacles=obstacles)
    parts = [_grid(x, y, frame)]
    parts += [_front_line(sorted(front), frame, colour=numbers.get(device)) for device, front in fronts.items()]
    for point, (_, _, row), label, box in zip(points, shown, labels, boxes, strict=True):
        parts.append(_point(point, row, label, box, colour=colours.number(row)))
    alt = f"Scatter plot of mIoU in percent over median latency in milliseconds of {len(shown)} artifacts"
    svg = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{alt}">{"".join(parts)}</svg>'
    if labels[0] == shown[0][2].label:
        return svg
    return svg + f'<ol class="names">{"".join(f"<li>{escape(row.label)}</li>" for _, _, row in shown)}</ol>'


def _labels(
    names: Sequence[str], points: Sequence[tuple[float, float]], *, frame: Box, obstacles: Sequence[Box]
) -> tuple[list[str], tuple[Box, ...]]:
    """Return the text of each point and its box: the names, or numbers if names would overlap."""
    for texts in (list(names), [str(index + 1) for index in range(len(names))]):
        boxes = place_labels(points, texts, frame=frame, font_px=_FONT_PX, radius=6.5, obstacles=obstacles)
        if is_clear(boxes, frame=frame):
            break
    return texts, boxes


def latency_axis(values: Sequence[float], *, start: float, end: float) -> _Axis:
    """Return an axis around the values, logarithmic if they span more than a factor of ten."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 10:
        low, high = low / 1.4, high * 1.4
        steps = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
        ticks = [step for step in steps if low <= step <= high]
        return _Axis(low=low, high=high, start=start, end=end, ticks=tuple(ticks), log=True)
    margin = max(0.18 * (high - low), 0.05 * high, _LEAST_MARGIN_MS)
    step = _nice_step((high - low + 2 * margin) / 6)
    bottom, top = max(0.0, step * math.floor((low - margin) / step)), step * math.ceil((high + margin) / step)
    return _Axis(low=bottom, high=top, start=start, end=end, ticks=_ticks(bottom, top, step))


def accuracy_axis(values: Sequence[float], *, start: float, end: float) -> _Axis:
    """Return an axis of fractions around the values, at least two points of mIoU long."""
    middle, span = (min(values) + max(values)) / 2, max(max(values) - min(values), _LEAST_SPAN) * 1.35
    step = _nice_step(span / 5)
    low, high = step * math.floor((middle - span / 2) / step), step * math.ceil((middle + span / 2) / step)
    return _Axis(low=low, high=high, start=start, end=end, ticks=_ticks(low, high, step))


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def _ticks(low: float, high: float, step: float) -> tuple[float, ...]:
    return tuple(low + step * index for index in range(round((high - low) / step) + 1))


def _grid(x: _Axis, y: _Axis, frame: Box) -> str:
    lines, texts = [], []
    for tick in x.ticks:
        lines.append(f'<path d="M{x(tick):.1f} {frame.top}V{frame.bottom}"/>')
        texts.append(_text(x(tick), frame.bottom + 17, f"{round(tick, 6):g}", anchor="middle"))
    for tick in y.ticks:
        lines.append(f'<path d="M{frame.left} {y(tick):.1f}H{frame.right}"/>')
        texts.append(_text(frame.left - 7, y(tick) + 4.5, f"{round(100 * tick, 4):g}", anchor="end"))
    scale = ", logarithmic" if x.log else ""
    caption = (
        f"median latency of preprocess + infer + decode, ms{scale}" if frame.right > 500 else f"p50 total, ms{scale}"
    )
    texts.append(_text(frame.right, frame.bottom + 37, f"{caption} →", anchor="end"))
    texts.append(_text(frame.left + 6, frame.top + 12, "↑ mIoU, %", anchor="start"))
    return f'<g class="grid">{"".join(lines)}</g><g class="axis">{"".join(texts)}</g>'


def _front_line(front: Sequence[tuple[float, float]], frame: Box, *, colour: int | None) -> str:
    """Return the staircase along a device's front: the best mIoU within a given latency."""
    path = [f"M{front[0][0]:.1f} {frame.bottom:.1f}V{front[0][1]:.1f}"]
    path += [f"H{px:.1f}V{py:.1f}" for px, py in front[1:]]
    kind = "front" if colour is None else f"front c{colour}"
    return f'<path class="{kind}" d="{"".join(path)}H{frame.right:.1f}"/>'


def _front_boxes(front: Sequence[tuple[float, float]], frame: Box) -> list[Box]:
    """Return the strokes of the front's line, so that no label covers it."""
    boxes = []
    turns = [*front[1:], (frame.right, front[-1][1])]
    level = frame.bottom
    for (x, y), (next_x, _) in zip(front, turns, strict=True):
        boxes += [Box(x, min(y, level), x + 1, max(y, level)), Box(x, y, next_x, y + 1)]
        level = y
    return boxes


def _point(point: tuple[float, float], row: Row, label: str, box: Box, *, colour: int) -> str:
    x, y = point
    title = f"{row.label}: {milliseconds(row.p50_ms)} ms, {percent(row.miou, digits=2)} % mIoU"
    near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    leader = ""
    if math.dist(point, (near_x, near_y)) > 14:
        leader = f'<path class="leader" d="M{x:.1f} {y:.1f}L{near_x:.1f} {near_y:.1f}"/>'
    anchor, text_x = ("start", box.left + 1) if box.left >= x else ("end", box.right - 1)
    if box.left < x < box.right:
        anchor, text_x = "middle", (box.left + box.right) / 2
    text = _text(text_x, (box.top + box.bottom) / 2 + 4.5, label, anchor=anchor)
    mark = f'<path class="mark" d="{_shape(row.measurement.precision, x, y)}"/>'
    kind = "point best" if row.on_front else "point"
    return f'<g class="{kind} c{colour}"><title>{escape(title)}</title>{leader}{mark}{text}</g>'


def _shape(precision: str, x: float, y: float) -> str:
    """Return the outline of a mark: a disc for fp32, a diamond for fp16, a triangle for the rest."""
    if precision == "fp32":
        return f"M{x - 5.5:.1f} {y:.1f}a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0z"
    if precision == "fp16":
        return f"M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"
    return f"M{x:.1f} {y - 6.5:.1f}l6.2 11h-12.4z"


def _text(x: float, y: float, text: str, *, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
