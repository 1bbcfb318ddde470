"""Gates: pass/fail rules such as "miou>=60,p99_ms<=40" that every measurement has to hold."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.bench.compare import Row, compare, timed_ms
from edgeseg.bench.latency import ACCURACY_ONLY
from edgeseg.core.suggestions import unknown
from edgeseg.errors import GateError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.core.measurement import Measurement

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_RULE = re.compile(r"\s*([A-Za-z0-9_]+)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _accuracy(name: str) -> Callable[[Row], float | None]:
    return lambda row: _percent(getattr(row.measurement.accuracy, name, None))


METRICS: dict[str, Callable[[Row], float | None]] = {
    "miou": _accuracy("miou"),
    "pixel_accuracy": _accuracy("pixel_accuracy"),
    "mean_dice": _accuracy("mean_dice"),
    "boundary_f1": _accuracy("boundary_f1"),
    "agreement": lambda row: _percent(row.agreement),
    "miou_drop": lambda row: _percent(row.miou_drop),
    "p50_ms": lambda row: row.p50_ms,
    "p90_ms": lambda row: timed_ms(row.measurement, "p90_ms"),
    "p99_ms": lambda row: row.p99_ms,
    "fps": lambda row: row.measurement.fps if row.p50_ms is not None else None,
    "speed_up": lambda row: row.speed_up,
    "size_mb": lambda row: row.size_mb,
    "memory_mb": lambda row: row.measurement.peak_memory_mb,
}
"""What a rule may be about; the first six in percent."""

_PERCENT = ("miou", "pixel_accuracy", "mean_dice", "boundary_f1", "agreement")
_NEEDS_TIME = ("p50_ms", "p90_ms", "p99_ms", "fps", "speed_up", "memory_mb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One comparison of a metric with a limit."""

    metric: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.limit:g}"


def parse_gate(text: str) -> tuple[Rule, ...]:
    """Return the rules of a gate, such as "miou>=60,p99_ms<=40".

    Raises:
        UnknownName: a metric that there is not, with the nearest one.
        InputError: a rule that is none, or a fraction where percent are meant.
    """
    rules = []
    for part in text.split(","):
        found = _RULE.fullmatch(part)
        if not found:
            raise InputError(
                f'Gate "{text}": "{part.strip()}" is no rule. Write METRIC>=NUMBER or METRIC<=NUMBER, such as miou>=60.'
            )
        metric, sign, limit = found[1].lower(), found[2], float(found[3])
        if metric not in METRICS:
            raise unknown("metric in the gate", metric, METRICS)
        if metric in _PERCENT and 0 < limit <= 1:
            raise InputError(f'Gate "{part.strip()}": {metric} is in percent. Write {metric}{sign}{100 * limit:g}.')
        rules.append(Rule(metric=metric, sign=sign, limit=limit))
    return tuple(rules)


def check_gate(gate: str, measurements: Sequence[Measurement], *, baseline: str | None = None) -> None:
    """Return if every measurement holds every rule of `gate`. What was not measured does not hold.

    Rules about time are not asked of an engine that is only a reference. Raises as `parse_gate` and `compare` do, and
        GateError: with one line for each rule that a measurement breaks.
    """
    rules = parse_gate(gate)
    faults = [
        fault
        for row in compare(measurements, baseline=baseline).rows
        for rule in rules
        if (fault := _fault(rule, row)) is not None
    ]
    if faults:
        raise GateError(f'Gate "{gate}" failed:\n' + "\n".join(f"  {fault}" for fault in faults))


def _fault(rule: Rule, row: Row) -> str | None:
    if rule.metric in _NEEDS_TIME and row.measurement.engine in ACCURACY_ONLY:
        return None
    value = METRICS[rule.metric](row)
    if value is None:
        why = "an emulated device's time means nothing" if row.measurement.device.emulated else "not measured"
        return f"{row.label}: {rule} cannot be told: {why}"
    if _SIGNS[rule.sign](value, rule.limit):
        return None
    return f"{row.label}: {rule.metric} is {value:.4g}, {rule.sign}{rule.limit:g} is asked"
