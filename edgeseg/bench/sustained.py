"""A run at full load for minutes: the curve minute by minute, and whether the device throttled."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeseg.bench import telemetry
from edgeseg.core.timing_method import Sustained, SustainedMinute

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.bench.timer import SessionTimer
    from edgeseg.core.progress import Progress

SustainedVerdict = Literal["steady", "slowed", "throttled"]

SLOWER_FROM = 0.10
"""A last third slower than the first third by this much is no longer steady."""
_SLOWER_CLOCK = 0.95
_BLOCK = 16
_THIRDS = 3
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalState:
    """What a device says about its heat now; None where it says nothing."""

    temperature_c: float | None
    frequency_mhz: float | None
    throttled: bool | None


def read_thermal_state() -> ThermalState:
    """Return this machine's thermal state."""
    return ThermalState(
        temperature_c=telemetry.read_temperature_c(),
        frequency_mhz=telemetry.read_frequency_mhz(),
        throttled=telemetry.read_throttled(),
    )


def sustain(
    timer: SessionTimer,
    *,
    seconds: float,
    read_state: Callable[[], ThermalState] = read_thermal_state,
    on_progress: Progress | None = None,
) -> Sustained:
    """Return the minute-by-minute curve of running without a pause for `seconds`; `timer` holds the runs.

    A last part of less than half a minute belongs to the minute before it. Fewer than three minutes are judged by the
    thirds of the runs instead: a single minute compared with itself is always steady.
    """
    minutes: list[SustainedMinute] = []
    begun, counted_s, counted = timer.spent_s, 0.0, len(timer.rows_ns)
    first, state_before = counted, read_state()
    spent_s = 0.0
    while spent_s < seconds:
        timer.block(_BLOCK)
        spent_s = timer.spent_s - begun
        if spent_s - counted_s >= MINUTE_S and seconds - spent_s >= MINUTE_S / 2:
            minutes.append(_minute(timer, start=counted, number=len(minutes) + 1, state=read_state()))
            counted_s, counted = spent_s, len(timer.rows_ns)
            gc.collect()
        if on_progress is not None:
            on_progress("sustain, seconds", int(min(spent_s, seconds)), int(seconds))
    minutes.append(_minute(timer, start=counted, number=len(minutes) + 1, state=read_state()))
    judged = minutes if len(minutes) >= _THIRDS else _by_runs(timer, start=first, before=state_before, minutes=minutes)
    change, verdict, reason = judge_sustained(judged)
    return Sustained(
        seconds=round(timer.spent_s - begun, 1), minutes=tuple(minutes), change=change, verdict=verdict, reason=reason
    )


def judge_sustained(minutes: list[SustainedMinute]) -> tuple[float, SustainedVerdict, str]:
    """Return the change of the median from the first third of the minutes to the last, the verdict, and its reason."""
    third = max(1, len(minutes) // 3)
    first, last = minutes[:third], minutes[-third:]
    before_ms, after_ms = (statistics.median(item.p50_ms for item in part) for part in (first, last))
    change = round(after_ms / before_ms - 1, 4) if before_ms else 0.0
    if change < SLOWER_FROM:
        return change, "steady", ""
    slower = f"{100 * change:.0f} % slower at the end"
    if any(item.throttled for item in minutes):
        return change, "throttled", f"{slower}; the device reports that it throttled"
    before_mhz, after_mhz = _frequency(first), _frequency(last)
    if before_mhz is None or after_mhz is None:
        return change, "slowed", f"{slower}; this device reports neither its clock nor throttling"
    if after_mhz < _SLOWER_CLOCK * before_mhz:
        return change, "throttled", f"{slower}; the clock fell from {before_mhz:.0f} to {after_mhz:.0f} MHz"
    return change, "slowed", f"{slower} at a clock of {after_mhz:.0f} MHz: other load, not heat"


def _by_runs(
    timer: SessionTimer, *, start: int, before: ThermalState, minutes: list[SustainedMinute]
) -> list[SustainedMinute]:
    """Return the first and the last third of the runs as if they were minutes, with the states before and after."""
    runs, last = len(timer.rows_ns) - start, minutes[-1]
    third = max(1, runs // _THIRDS)
    ended = ThermalState(
        temperature_c=last.temperature_c,
        frequency_mhz=last.frequency_mhz,
        throttled=any(item.throttled for item in minutes),
    )
    parts = ((slice(start, start + third), before), (slice(start + runs - third, None), ended))
    return [_part(timer.rows_ns[rows], number=number, state=state) for number, (rows, state) in enumerate(parts, 1)]


def _frequency(minutes: list[SustainedMinute]) -> float | None:
    known = [item.frequency_mhz for item in minutes if item.frequency_mhz is not None]
    return statistics.median(known) if known else None


def _minute(timer: SessionTimer, *, start: int, number: int, state: ThermalState) -> SustainedMinute:
    return _part(timer.rows_ns[start:] or timer.rows_ns[-1:], number=number, state=state)


def _part(rows: list[tuple[int, int, int]], *, number: int, state: ThermalState) -> SustainedMinute:
    return SustainedMinute(
        minute=number,
        runs=len(rows),
        p50_ms=round(statistics.median(map(sum, rows)) / 1e6, 4),
        temperature_c=state.temperature_c,
        frequency_mhz=state.frequency_mhz,
        throttled=state.throttled,
    )
