"""Times one session run by run: warm-up, blocks of counted runs, energy."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.bench import telemetry
from edgeseg.bench.samples import pack_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.core.measurement import RawSamples
    from edgeseg.runtime import Session

LEAST_RUNS = 5
WARMUP_WINDOW = 10
SETTLED_WITHIN = 0.02
MOST_WARMUP_RUNS = 500
MOST_WARMUP_S = 20.0


class SessionTimer:
    """Times one session: per run a row of nanoseconds (preprocess, infer, decode).

    It is done after `runs` runs that took `least_seconds` together, or after `seconds` and five runs. `clock_ns` and
    `read_energy_uj` are the machine's own unless a test gives others.
    """

    def __init__(
        self,
        session: Session,
        images: Sequence[np.ndarray],
        *,
        runs: int,
        least_seconds: float = 0.0,
        seconds: float = math.inf,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        read_energy_uj: Callable[[], dict[str, int]] = telemetry.read_energy_uj,
    ) -> None:
        self._session = session
        self._images = images
        self._runs = runs
        self._least_seconds = least_seconds
        self._seconds = seconds
        self._clock_ns = clock_ns
        self._read_energy_uj = read_energy_uj
        self._turn = 0
        self._energy_j = 0.0
        self._timed_ns = 0
        self._has_energy = True
        self.spent_s = 0.0
        self.warmup = 0
        self.settled: bool | None = None
        self.rows_ns: list[tuple[int, int, int]] = []

    @property
    def is_done(self) -> bool:
        """Whether enough runs were counted."""
        count = len(self.rows_ns)
        # Not `spent_s`: the time between runs is in no record, and of a tiny net it is a tenth of the whole.
        enough = count >= self._runs and self._timed_ns >= 1e9 * self._least_seconds
        return enough or (self.spent_s >= self._seconds and count >= LEAST_RUNS)

    @property
    def energy_mj(self) -> float | None:
        """Millijoules per counted run, of the CPU packages; None where the machine has no counter."""
        if not self._has_energy or not self.rows_ns:
            return None
        return round(1000 * self._energy_j / len(self.rows_ns), 3)

    def warm(self, runs: int) -> None:
        """Run without counting."""
        for _ in range(runs):
            self._once()

    def warm_up(self, runs: int | None) -> None:
        """Run `runs` times without counting; None: until the median of ten runs changes by less than 2 %.

        That is until three medians in a row are alike, or for 500 runs or 20 s; `settled` then says whether they were.
        """
        if runs is not None:
            self.warm(runs)
            self.warmup = runs
            return
        medians: list[float] = []
        begun = self._clock_ns()
        while True:
            medians.append(statistics.median(sum(self._once()) for _ in range(WARMUP_WINDOW)))
            self.warmup += WARMUP_WINDOW
            last = medians[-3:]
            self.settled = len(last) == 3 and max(last) - min(last) <= SETTLED_WITHIN * min(last)
            spent_s = (self._clock_ns() - begun) / 1e9
            if self.settled or self.warmup >= MOST_WARMUP_RUNS or spent_s >= MOST_WARMUP_S:
                return

    def block(self, runs: int) -> None:
        """Run and count up to `runs` times, until done."""
        before = self._read_energy_uj()
        begun = start = self._clock_ns()
        for _ in range(runs):
            self.rows_ns.append(row := self._once())
            self._timed_ns += sum(row)
            now = self._clock_ns()
            self.spent_s += (now - start) / 1e9
            start = now
            if self.is_done:
                break
        self._count_energy(before, seconds=(start - begun) / 1e9)

    def samples(self) -> RawSamples:
        """Return the counted runs."""
        return pack_samples(np.array(self.rows_ns, np.int64))

    def _count_energy(self, before: dict[str, int], *, seconds: float) -> None:
        after = self._read_energy_uj()
        if not before or not after or seconds <= 0:
            self._has_energy = False
            return
        self._energy_j += seconds * telemetry.mean_power_w(before, after, seconds=seconds)

    def _once(self) -> tuple[int, int, int]:
        image = self._images[self._turn % len(self._images)]
        self._turn += 1
        size = (image.shape[0], image.shape[1])
        start = self._clock_ns()
        tensor = self._session.preprocess(image)
        prepared = self._clock_ns()
        output = self._session.infer(tensor)
        inferred = self._clock_ns()
        self._session.decode(output, size=size)
        return prepared - start, inferred - prepared, self._clock_ns() - inferred
