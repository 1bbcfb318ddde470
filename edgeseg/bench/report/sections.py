"""The parts of the page that show figures: headline, table, stages, classes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeseg.bench.report import words
from edgeseg.bench.report.charts import pareto_plot
from edgeseg.bench.samples import STAGES as ALL_STAGES
from edgeseg.core.metric_value import metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeseg.bench.compare import Comparison, Row
    from edgeseg.bench.report.colours import Colours
    from edgeseg.core.measurement import Measurement
    from edgeseg.core.metric_value import MetricValue

PLOT_SIZES = (("wide", 900, 420), ("narrow", 360, 400))
PARTS = ALL_STAGES[:-1]


def section(title: str, body: str, *, note: str = "", identity: str = "") -> str:
    """Return a titled section; nothing where its body is empty. `note` is text, `body` is HTML."""
    if not body:
        return ""
    shown = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section id="{identity}"><h2>{escape(title)}</h2>{shown}{body}</section>'


def headline(comparison: Comparison) -> str:
    """Return the headline figures: fastest and most accurate of each device, smallest, and the changes in mIoU."""
    tiles = []
    several = len(comparison.best) > 1
    for best in comparison.best:
        where = f" on {best.device}" if several else ""
        fastest, accurate = comparison.row(best.fastest), comparison.row(best.most_accurate)
        if fastest is not None:
            fps = f"{fastest.measurement.fps:.0f} images a second, one after the other"
            tiles.append(_tile(f"Fastest{where}", f"{words.milliseconds(fastest.p50_ms)} ms", fastest.label, fps))
        if accurate is not None:
            note = f"mIoU, {_data(accurate)}"
            tiles.append(_tile(f"Most accurate{where}", f"{words.percent(accurate.miou)} %", accurate.label, note))
    tiles += _change_tiles(comparison)
    smallest = min(comparison.rows, key=lambda row: row.size_mb)
    tiles.append(
        _tile("Smallest", f"{words.megabytes(smallest.size_mb)} MB", smallest.label, "what goes to the device")
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _change_tiles(comparison: Comparison) -> list[str]:
    """Return the cost of int8 alone and, if the baseline is another net, separately that of changing the net."""
    tiles = []
    quantized = [row for row in comparison.rows if row.int8_change is not None]
    if quantized:
        worst = min(quantized, key=lambda row: row.int8_change or 0)
        change = words.signed_points(worst.int8_change, digits=2)
        note = f"mIoU against fp32 of {worst.measurement.model} itself"
        tiles.append(_tile(f"{worst.measurement.precision} alone, at worst", f"{change} points", worst.label, note))
    floats = [
        row
        for row in comparison.rows
        if row.measurement.precision == "fp32"
        and row.miou_change is not None
        and (base := comparison.row(row.baseline)) is not None
        and base.measurement.model != row.measurement.model
    ]
    if floats:
        worst = min(floats, key=lambda row: row.miou_change or 0)
        change = words.signed_points(worst.miou_change, digits=2)
        note = f"mIoU of {worst.measurement.model} against {comparison.baseline}, both in fp32"
        tiles.append(_tile("The smaller net alone", f"{change} points", worst.label, note))
    return tiles


def warning_list(comparison: Comparison) -> str:
    """Return the warnings to read first."""
    items = "".join(f"<li>{escape(text)}</li>" for text in comparison.warnings)
    return f'<aside class="warnings"><strong>Before you judge</strong><ul>{items}</ul></aside>' if items else ""


_HEADS = (
    "artifact", "device", "net", "input", "p50 ms", "speed-up", "mIoU %", "change", "agreement %", "p99 ms", "size MB",
    "memory MB", "engine", "threads",
)  # fmt: skip
TEXTS = frozenset({"artifact", "device", "net", "engine"})
"""Columns set flush left."""
_STATED_ONCE = frozenset({"device", "net", "input", "threads"})
"""Columns left out if all rows are equal: the line above the table, or "How it was measured", states the value."""


def result_table(comparison: Comparison, colours: Colours) -> str:
    """Return one row per artifact, those on the Pareto front marked."""
    columns = list(zip(*map(_cells, comparison.rows), strict=True))
    kept = [
        index
        for index, values in enumerate(columns)
        if set(values) != {words.NONE} and not (_HEADS[index] in _STATED_ONCE and _same(values))
    ]
    head = "".join(f'<th scope="col"{_left(index)}>{_HEADS[index]}</th>' for index in kept)
    lines = []
    for row in comparison.rows:
        cells = _cells(row)
        dot = f'<span class="dot c{colours.number(row)}"></span>'
        star = ' <span class="star" title="on the Pareto front of its device">★</span>' if row.on_front else ""
        name = f'<th scope="row" class="left">{dot}{escape(row.label)}{star}</th>'
        rest = "".join(f"<td{_left(index)}>{escape(cells[index])}</td>" for index in kept[1:])
        lines.append(f"<tr{' class=best' if row.on_front else ''}>{name}{rest}</tr>")
    stated = _stated_once(columns)
    caption = f"<caption>{escape(stated)}</caption>" if stated else ""
    body = "".join(lines)
    return f"{words.SCROLLING}<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _stated_once(columns: Sequence[Sequence[str]]) -> str:
    stated = [
        f"{_HEADS[index]}: {values[0]}"
        for index, values in enumerate(columns)
        if _HEADS[index] in _STATED_ONCE - {"threads"} and _same(values)
    ]
    return "; ".join(stated)


def front_plot(rows: Sequence[Row], colours: Colours) -> str:
    """Return the Pareto plot with its legend, for wide and narrow screens; nothing for fewer than two points."""
    shown = [row for row in rows if row.p50_ms is not None and row.miou is not None]
    if len(shown) < 2:
        return ""
    told_apart = {colours.name(row): colours.number(row) for row in shown}
    keys = [f'<span><i class="dot c{number}"></i>{escape(name)}</span>' for name, number in told_apart.items()]
    shapes = {"fp32": "●", "fp16": "◆", "int8": "▲"}
    precisions = dict.fromkeys(row.measurement.precision for row in shown)
    keys += [f"<span><i>{shapes.get(name, '▲')}</i>{escape(name)}</span>" for name in precisions]
    fronts = "Pareto front of each device" if colours.by_device else "Pareto front"
    keys.append(f'<span><i class="line"></i>{fronts}</span>')
    plots = "".join(
        f'<div class="{kind}">{pareto_plot(shown, width=width, height=height, colours=colours)}</div>'
        for kind, width, height in PLOT_SIZES
    )
    return f'<figure>{plots}<figcaption class="key">{"".join(keys)}</figcaption></figure>'


def stage_bars(rows: Sequence[Row]) -> str:
    """Return stacked bars of the stages' medians with a tick at the p99 of the total."""
    timed = [row for row in rows if row.p50_ms is not None]
    if not timed:
        return ""
    longest = max(max(row.p50_ms or 0, _stage_sum(row)) for row in timed) or 1.0
    # A rare p99 of several times the median would squeeze all bars: the scale ends soon after the longest bar.
    scale = min(max((*(row.p99_ms or 0 for row in timed), longest)), longest * 1.35)
    bars = "".join(_bar(row, scale) for row in timed)
    keys = "".join(f'<span><i class="dot s{index}"></i>{stage}</span>' for index, stage in enumerate(PARTS))
    return (
        f'<figure><div class="bars">{bars}</div><figcaption class="key">{keys}'
        '<span><i class="tick"></i>p99 of the total</span></figcaption></figure>'
    )


def class_table(comparison: Comparison) -> str:
    """Return IoU in percent by class and artifact, shaded, with the change against the baseline."""
    rows = [row for row in comparison.rows if row.measurement.accuracy is not None]
    if not rows:
        return ""
    by_label = {row.label: row for row in rows}
    names = list(dict.fromkeys(name for row in rows for name in _ious(row)))
    head = "".join(f'<th scope="col">{escape(row.label)}</th>' for row in rows)
    lines = []
    for name in names:
        cells = "".join(_heat(_ious(row).get(name), _ious(_base(row, by_label)).get(name), row) for row in rows)
        lines.append(f'<tr><th scope="row" class="left">{escape(name)}</th>{cells}</tr>')
    means = "".join(_heat(row.miou, getattr(_base(row, by_label), "miou", None), row) for row in rows)
    lines.append(f'<tr class="mean"><th scope="row" class="left">mean (mIoU)</th>{means}</tr>')
    for name in dict.fromkeys(key for row in rows for key in _scores(row) if key != "miou"):
        cells = "".join(f"<td>{_score(row, name)}</td>" for row in rows)
        title = escape(metric_title(name))
        lines.append(f'<tr class="extra"><th scope="row" class="left">{title}</th>{cells}</tr>')
    body = "".join(lines)
    return (
        f'{words.SCROLLING}<table class="heat"><thead><tr><th scope="col" class="left">class</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _tile(title: str, figure: str, label: str, note: str) -> str:
    number, _, unit = figure.rpartition(" ")
    return (
        f'<div class="tile"><h2>{escape(title)}</h2>'
        f'<p class="figure">{escape(number)}<small> {escape(unit)}</small></p>'
        f"<p><strong>{escape(label)}</strong><br>{escape(note)}</p></div>"
    )


def _data(row: Row) -> str:
    scored = row.measurement.accuracy
    return f"{scored.data} {scored.split}, {scored.images} images" if scored else ""


def _cells(row: Row) -> tuple[str, ...]:
    item = row.measurement
    own = row.baseline == row.label
    return (
        row.label, item.device.name, item.model, words.size_text(item.input_size), words.milliseconds(row.p50_ms),
        "baseline" if own and row.speed_up else words.times(row.speed_up), words.percent(row.miou, digits=2),
        "baseline" if own and row.miou_change is not None else words.signed_points(row.miou_change, digits=2),
        words.percent(row.agreement, digits=2), _p99(row), words.megabytes(row.size_mb),
        words.NONE if item.peak_memory_mb is None else f"{item.peak_memory_mb:.0f}", item.engine,
        str(item.threads) if item.latency else words.NONE,
    )  # fmt: skip


def _same(values: Sequence[str]) -> bool:
    return len({value for value in values if value != words.NONE}) == 1


def _p99(row: Row) -> str:
    """Return the 99th percentile, or "too few" for too few runs."""
    if row.p99_ms is None and row.p50_ms is not None:
        return "too few runs"
    return words.milliseconds(row.p99_ms)


def _left(index: int) -> str:
    return ' class="left"' if _HEADS[index] in TEXTS else ""


def _stage_ms(measurement: Measurement, stage: str) -> float:
    timed = measurement.stage(stage)
    return timed.p50_ms if timed else 0.0


def _stage_sum(row: Row) -> float:
    return sum(_stage_ms(row.measurement, stage) for stage in PARTS)


def _bar(row: Row, scale: float) -> str:
    parts, texts = [], []
    for index, stage in enumerate(PARTS):
        value = _stage_ms(row.measurement, stage)
        parts.append(f'<i class="s{index}" style="width:{100 * value / scale:.2f}%"></i>')
        texts.append(f"{stage} {words.milliseconds(value)}")
    tick = ""
    if row.p99_ms is not None and row.p99_ms <= scale:
        tick = f'<b class="tick" style="left:{100 * row.p99_ms / scale:.2f}%"></b>'
    elif row.p99_ms is not None:
        tick = '<b class="beyond">→</b>'
    sums = " + ".join(words.milliseconds(_stage_ms(row.measurement, stage)) for stage in PARTS)
    detail = f"{', '.join(texts)}; p99 {_p99(row)}"
    return (
        f'<div class="bar"><div class="name">{escape(row.label)}</div>'
        f'<div class="track" title="{escape(detail)}">{"".join(parts)}{tick}</div>'
        f'<div class="value">{words.milliseconds(row.p50_ms)} ms<small>{escape(sums)}</small></div></div>'
    )


def _ious(row: Row | None) -> dict[str, float | None]:
    return row.measurement.accuracy.per_class("miou") if row and row.measurement.accuracy else {}


def _scores(row: Row) -> dict[str, MetricValue]:
    return row.measurement.accuracy.metrics if row.measurement.accuracy else {}


def _base(row: Row, by_label: Mapping[str, Row]) -> Row | None:
    """Return the baseline of a row's scores; None where it was scored on other data."""
    return None if row.miou_change is None else by_label.get(row.baseline)


def _score(row: Row, name: str) -> str:
    found = _scores(row).get(name)
    if found is None or found.value is None:
        return words.NONE
    return words.percent(found.value) if found.unit == "fraction" else escape(f"{found.value:.4g} {found.unit}")


def _heat(value: float | None, base: float | None, row: Row) -> str:
    if value is None:
        return f"<td>{words.NONE}</td>"
    change = ""
    if base is not None and row.baseline != row.label:
        points = value - base
        mood = "down" if points <= -0.01 else "up" if points >= 0.01 else "even"
        change = f'<small class="{mood}">{words.signed_points(points)}</small>'
    return f'<td style="--v:{max(0.0, value):.3f}"><span>{words.percent(value)}</span>{change}</td>'
