"""How a latency was measured, and what follows from it: `TimingMethod`, `Sustained`, `Roofline`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgeseg.core.checked import check_number

Protocol = Literal["standard", "mlperf-single-stream", "sustained"]

MLPERF_QUERIES = 1024
MLPERF_SECONDS = 60.0
"""The least of a single-stream run by the rules of MLPerf Mobile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingMethod:
    """The rules that the runs followed.

    The runs ended after at least `least_runs` of them and `least_seconds`. `rounds` is how often the artifacts of one
    command took turns, and `session` is equal in the records of one such command. `settled` says whether the running
    median settled during the warm-up; None if the warm-up had a given number of runs.
    """

    protocol: Protocol
    session: str
    least_runs: int
    least_seconds: float
    rounds: int
    settled: bool | None = None

    def __post_init__(self) -> None:
        check_number("least_runs", self.least_runs, low=1)
        check_number("least_seconds", self.least_seconds)
        check_number("rounds", self.rounds, low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedMinute:
    """One minute of a sustained run: its median total, and the device's state at its end."""

    minute: int
    runs: int
    p50_ms: float
    temperature_c: float | None = None
    frequency_mhz: float | None = None
    throttled: bool | None = None

    def __post_init__(self) -> None:
        check_number("minute", self.minute, low=1)
        check_number("runs", self.runs, low=1)
        check_number("p50_ms", self.p50_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """A run at full load for `seconds`, minute by minute.

    `change` is the median of the last third of the minutes over that of the first third, minus 1: 0.25 is 25 % slower
    at the end. With fewer than three minutes they are thirds of the runs.
    `verdict` is "throttled" if the device slowed down and its clock or its own flag shows why, "slowed" if nothing
    shows why (other load, or heat that this device does not report), and else "steady".
    """

    seconds: float
    minutes: tuple[SustainedMinute, ...]
    change: float
    verdict: Literal["steady", "slowed", "throttled"]
    reason: str = ""

    def __post_init__(self) -> None:
        check_number("seconds", self.seconds)
        check_number("minutes", len(self.minutes), low=1)
        check_number("change", self.change, low=-1)
        numbers = [item.minute for item in self.minutes]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ValueError(f"minutes are numbered {numbers}; expected 1 to {len(numbers)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The arithmetic rate of inference against this machine's own measured peak in the same precision.

    `macs` are multiply-accumulates per image; `gops` is 2 `macs` / p50 of the stage "infer", in 10^9 operations per
    second; `peak_gops` is that of a large matrix product with as many threads, by the library named in `peak_of`.
    """

    precision: str
    macs: int
    gops: float
    peak_gops: float
    fraction: float
    peak_of: str

    def __post_init__(self) -> None:
        check_number("macs", self.macs, low=1)
        check_number("gops", self.gops)
        check_number("peak_gops", self.peak_gops)
        if not self.peak_gops or not math.isclose(
            self.fraction, self.gops / self.peak_gops, abs_tol=2e-3, rel_tol=0.02
        ):
            raise ValueError(f"fraction is {self.fraction:g}; it is not gops / peak_gops.")
