"""Gates: pass/fail rules such as "miou>=60,p99_ms<=40" that every measurement must meet."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.bench.compare import Row, compare, timed_ms
from edgeseg.bench.latency import ACCURACY_ONLY
from edgeseg.core.measurement import LEAST_RUNS_FOR_P99
from edgeseg.core.suggestions import unknown
from edgeseg.errors import GateError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeseg.core.measurement import Measurement

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_RULE = re.compile(r"\s*([A-Za-z0-9_]+)\s*(>=|<=|>|<)\s*(-?[0-9]*\.?[0-9]+)\s*")


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


FIGURES: dict[str, Callable[[Row], float | None]] = {
    "agreement": lambda row: _percent(row.agreement),
    "miou_change": lambda row: _percent(row.miou_change),
    "int8_change": lambda row: _percent(row.int8_change),
    "p50_ms": lambda row: row.p50_ms,
    "p90_ms": lambda row: timed_ms(row.measurement, "p90_ms"),
    "p99_ms": lambda row: row.p99_ms,
    "fps": lambda row: row.measurement.fps if row.p50_ms is not None else None,
    "speed_up": lambda row: row.speed_up,
    "size_mb": lambda row: row.size_mb,
    "memory_mb": lambda row: row.measurement.peak_memory_mb,
}
"""What a rule may test besides the metrics in the records: the first three in percent or points."""

_NEEDS_TIME = ("p50_ms", "p90_ms", "p99_ms", "fps", "speed_up", "memory_mb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One comparison of a metric with a limit."""

    metric: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.limit:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The result of one rule for one row: `value` in the rule's unit (percent, points, ms), and the fault or ""."""

    label: str
    rule: str
    value: float | None
    passed: bool
    fault: str = ""


def parse_gate(text: str, measurements: Sequence[Measurement]) -> tuple[Rule, ...]:
    """Return the rules of a gate, such as "miou>=60,p99_ms<=40", about these measurements.

    Raises:
        UnknownName: a metric that none of them has, with the nearest one.
        InputError: text that is not a rule, or a fraction instead of percent.
    """
    fractions = {
        name
        for item in measurements
        if item.accuracy is not None
        for name, value in item.accuracy.metrics.items()
        if value.unit == "fraction"
    }
    others = {name for item in measurements if item.accuracy is not None for name in item.accuracy.metrics} - fractions
    rules = []
    for part in text.split(","):
        found = _RULE.fullmatch(part)
        if not found:
            raise InputError(
                f'Gate "{text}": "{part.strip()}" is not a rule. Write METRIC>=NUMBER or METRIC<=NUMBER, such as '
                "miou>=60."
            )
        metric, sign, limit = found[1].lower(), found[2], float(found[3])
        if metric not in {*FIGURES, *fractions, *others, "miou"}:
            raise unknown("metric in the gate", metric, {*FIGURES, *fractions, *others, "miou"})
        if metric in {*fractions, "miou", "agreement"} and 0 < limit <= 1:
            raise InputError(f'Gate "{part.strip()}": {metric} is in percent. Write {metric}{sign}{100 * limit:g}.')
        rules.append(Rule(metric=metric, sign=sign, limit=limit))
    return tuple(rules)


def gate_results(
    gate: str, measurements: Sequence[Measurement], *, baseline: str | None = None, mixed: Iterable[str] = ()
) -> tuple[GateResult, ...]:
    """Return the result of each rule of `gate` for each measurement. A value that was not measured does not pass.

    Rules about time are not applied to an engine that is only a reference. Raises as `parse_gate` and `compare` do.

    Raises:
        InputError: every rule is about time and every engine only a reference: nothing would be tested.
    """
    rules = parse_gate(gate, measurements)
    results = tuple(
        _result(rule, row)
        for row in compare(measurements, baseline=baseline, mixed=mixed).rows
        for rule in rules
        if not (rule.metric in _NEEDS_TIME and row.measurement.engine in ACCURACY_ONLY)
    )
    if not results:
        raise InputError(
            f'Gate "{gate}": its rules are about time, and {ACCURACY_ONLY[0]} alone was measured, which is a reference '
            "without one. Nothing was tested: give measurements of another engine, or other rules."
        )
    return results


def check_gate(
    gate: str, measurements: Sequence[Measurement], *, baseline: str | None = None, mixed: Iterable[str] = ()
) -> None:
    """Check that every measurement passes every rule of `gate`. Raises as `gate_results` does.

    Raises:
        GateError: with one line for each rule that a measurement breaks.
    """
    raise_failed(gate, gate_results(gate, measurements, baseline=baseline, mixed=mixed))


def raise_failed(gate: str, results: Sequence[GateResult]) -> None:
    """Raise `GateError` with a line for each failed result, if there are any."""
    faults = [result.fault for result in results if not result.passed]
    if faults:
        raise GateError(f'Gate "{gate}" failed:\n' + "\n".join(f"  {fault}" for fault in faults))


def _result(rule: Rule, row: Row) -> GateResult:
    value = _value(rule.metric, row)
    passed = value is not None and _SIGNS[rule.sign](value, rule.limit)
    fault = ""
    if value is None:
        fault = f"{row.label}: {rule} cannot be checked: {_why_missing(rule, row)}"
    elif not passed:
        fault = f"{row.label}: {rule.metric} is {value:.4g}, required: {rule.sign}{rule.limit:g}"
    return GateResult(label=row.label, rule=str(rule), value=value, passed=passed, fault=fault)


def _value(metric: str, row: Row) -> float | None:
    if metric in FIGURES:
        return FIGURES[metric](row)
    accuracy = row.measurement.accuracy
    found = accuracy.metrics.get(metric) if accuracy is not None else None
    if found is None:
        return None
    return _percent(found.value) if found.unit == "fraction" else found.value


def _why_missing(rule: Rule, row: Row) -> str:
    if row.measurement.device.emulated and rule.metric in _NEEDS_TIME:
        return "an emulated device's time means nothing"
    total = row.measurement.stage("total")
    if rule.metric == "p99_ms" and total is not None:
        return f"{total.runs} runs are too few for it, {LEAST_RUNS_FOR_P99} required"
    return "not measured"
