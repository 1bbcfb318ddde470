"""How times are taken and judged, on synthetic times: never how fast this machine is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bench.measured import measurement, noisy_times, record_of, stages
from contracts.tiny_artifact import image, make_artifact

from edgeseg.bench import bench_sustained, compare
from edgeseg.bench.change import instability, latency_change
from edgeseg.bench.intervals import intervals
from edgeseg.bench.peak import Peak, computed_in, measure_peak, roofline
from edgeseg.bench.sustained import ThermalState, judge_sustained, sustain
from edgeseg.bench.timer import SessionTimer
from edgeseg.core.timing_method import Roofline, Sustained, SustainedMinute, TimingMethod
from edgeseg.errors import GateError, InputError
from edgeseg.runtime import load
from edgeseg.verbs.bench import bench, check_stable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeseg.core.measurement import Measurement


class FakeSession:
    """A session on a clock of its own: each inference takes what `infer_ms` says."""

    def __init__(self, infer_ms: Callable[[int], float]) -> None:
        self._infer_ms, self._runs, self.now_ns = infer_ms, 0, 0

    def preprocess(self, picture: np.ndarray) -> np.ndarray:
        return picture

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self.now_ns += int(1e6 * self._infer_ms(self._runs))
        self._runs += 1
        return tensor

    def decode(self, output: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
        assert size == output.shape[:2]
        return output


def timer_of(infer_ms: Callable[[int], float], **options: object) -> SessionTimer:
    session = FakeSession(infer_ms)
    return SessionTimer(
        session, [image()], clock_ns=lambda: session.now_ns, read_energy_uj=dict, **{"runs": 1, **options}
    )  # type: ignore[arg-type]


def test_warm_up_ends_when_the_running_median_settles() -> None:
    timer = timer_of(lambda run: 20 - run / 4 if run < 60 else 5.0)
    timer.warm_up(None)
    assert (timer.warmup, timer.settled) == (90, True)
    restless = timer_of(lambda run: 5 + run)
    restless.warm_up(None)
    assert restless.settled is False
    fixed = timer_of(lambda _run: 5)
    fixed.warm_up(7)
    assert (fixed.warmup, fixed.settled) == (7, None)


def test_runs_and_seconds_are_both_least() -> None:
    timer = timer_of(lambda _run: 10, runs=20, least_seconds=1.0)
    while not timer.is_done:
        timer.block(8)
    assert len(timer.rows_ns) == 100
    short = timer_of(lambda _run: 10, runs=200, least_seconds=0.1)
    while not short.is_done:
        short.block(8)
    assert len(short.rows_ns) == 200


def test_energy_is_that_of_the_counted_runs() -> None:
    session = FakeSession(lambda _run: 10)
    timer = SessionTimer(
        session, [image()], runs=10, clock_ns=lambda: session.now_ns,
        read_energy_uj=lambda: {"intel-rapl:0": 500 * session.now_ns // 1_000_000},
    )  # type: ignore[arg-type]  # fmt: skip
    timer.warm(5)
    timer.block(10)
    assert timer.energy_mj == pytest.approx(5.0)
    assert timer_of(lambda _run: 10).energy_mj is None


def test_an_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(40):
        times = np.random.default_rng(seed).normal(10, 1, 200)
        found = intervals(times, (50.0,))
        assert found is not None
        held += found[0][0] <= 10 <= found[0][1]
    assert held >= 33
    assert intervals(np.ones(19), (50.0,)) is None


def test_every_percentile_has_its_interval_and_p99_none_of_few_runs() -> None:
    total = record_of(noisy_times(seed=0)).latency[-1]
    assert total.p50_interval_ms is not None
    assert total.p50_interval_ms[0] <= total.p50_ms <= total.p50_interval_ms[1]
    assert total.p99_interval_ms is not None
    few = record_of(noisy_times(seed=0, runs=100)).latency[-1]
    assert (few.p99_ms, few.p99_interval_ms) == (None, None)
    with pytest.raises(ValueError, match="p50_interval_ms is 1 to 2; p50_ms"):
        dataclasses.replace(total, p50_interval_ms=(1.0, 2.0))


def change_between(ours: Measurement, theirs: Measurement) -> tuple[str, float, float]:
    found = latency_change(ours, theirs)
    assert found is not None
    assert found.low <= found.change <= found.high
    return found.verdict, found.low, found.high


@pytest.mark.parametrize("seed", range(5))
def test_two_runs_of_one_artifact_are_equal_and_ten_percent_more_is_slower(seed: int) -> None:
    first = record_of(noisy_times(seed=seed), session="one")
    later = record_of(1.01 * noisy_times(seed=seed + 100), session="two")
    assert change_between(later, first)[0] == "equal"
    slower = record_of(noisy_times(seed=seed + 100, slower=1.15), session="two")
    verdict, low, high = change_between(slower, first)
    assert verdict == "slower"
    assert abs((low + high) / 2 - 0.15 * 6 / 7.5) < 0.04
    assert change_between(first, slower)[0] == "faster"


def test_interleaved_runs_tell_a_slower_layer_that_separate_runs_cannot() -> None:
    """A layer of 30 % of the inference that takes 10 % longer is 2.4 % of the whole."""
    load = noisy_times(seed=1, noise=0.2)
    planted = load * np.array([1, 1.03, 1])
    assert change_between(record_of(planted, session="same"), record_of(load, session="same"))[0] == "slower"
    assert change_between(record_of(load, session="same"), record_of(load, session="same"))[0] == "equal"
    assert change_between(record_of(planted, session="a"), record_of(load, session="b"))[0] != "slower"


def test_too_noisy_is_unclear_and_not_stable() -> None:
    wild = record_of(noisy_times(seed=3, noise=1.5), session="a")
    assert change_between(record_of(noisy_times(seed=4, noise=1.5), session="b"), wild)[0] == "unclear"
    assert "the median is uncertain by ±" in instability(wild)
    with pytest.raises(GateError, match=r"Too noisy.*:\n  Raspberry Pi 5/fast_scnn-tflite-fp32: the") as caught:
        check_stable([wild])
    assert caught.value.exit_status == 3
    check_stable([record_of(noisy_times(seed=0)), measurement(infer_ms=None)])
    drifting = record_of(noisy_times(seed=0, noise=0.001) * np.linspace(1, 1.12, 200)[:, None])
    assert "drifted by" in instability(drifting) or "uncertain" in instability(drifting)


def test_compare_gives_the_verdict_against_the_baseline() -> None:
    base = record_of(noisy_times(seed=1), session="a")
    slower = record_of(
        noisy_times(seed=2, slower=1.2), session="b", artifact="again", artifact_sha256="cd" * 32, precision="int8"
    )
    rows = compare([base, slower]).rows
    assert rows[0].p50_change is None
    assert rows[1].p50_change is not None
    assert rows[1].p50_change.verdict == "slower"
    by_hash = compare([base, slower], baseline="cdcdcdcd").rows
    assert by_hash[0].p50_change is not None
    assert by_hash[0].p50_change.verdict == "faster"


def minutes(p50s_ms: list[float], mhz: list[float | None], *, flag: bool | None = None) -> list[SustainedMinute]:
    pairs = enumerate(zip(p50s_ms, mhz, strict=True), start=1)
    return [
        SustainedMinute(minute=n, runs=100, p50_ms=ms, frequency_mhz=clock, throttled=flag) for n, (ms, clock) in pairs
    ]


@pytest.mark.parametrize(
    ("p50s_ms", "mhz", "flag", "verdict", "reason"),
    [
        ([10, 10, 10.5], [2400, 2400, 2400], False, "steady", ""),
        ([10, 14, 15], [2400, 1500, 1500], None, "throttled", "the clock fell from 2400 to 1500 MHz"),
        ([10, 14, 15], [None, None, None], True, "throttled", "the device reports that it throttled"),
        ([10, 14, 15], [2400, 2400, 2400], False, "slowed", "other load, not heat"),
        ([10, 14, 15], [None, None, None], None, "slowed", "reports neither its clock nor throttling"),
    ],
)
def test_only_a_device_that_shows_it_is_called_throttled(
    p50s_ms: list[float], mhz: list[float | None], flag: bool | None, verdict: str, reason: str
) -> None:
    change, found, why = judge_sustained(minutes(p50s_ms, mhz, flag=flag))
    assert found == verdict
    assert reason in why
    assert change == pytest.approx(p50s_ms[-1] / p50s_ms[0] - 1)


def test_a_sustained_run_has_a_curve_by_minute() -> None:
    timer = timer_of(lambda run: 10 if run < 12_000 else 16, runs=1, least_seconds=250)
    states = iter(range(2400, 0, -400))
    curve = sustain(
        timer, seconds=250,
        read_state=lambda: ThermalState(temperature_c=80.0, frequency_mhz=float(next(states)), throttled=None),
    )  # fmt: skip
    assert [item.minute for item in curve.minutes] == [1, 2, 3, 4]
    assert curve.minutes[0].p50_ms == 10
    assert curve.minutes[-1].p50_ms == 16
    assert sum(item.runs for item in curve.minutes) == len(timer.rows_ns)
    assert (curve.verdict, round(curve.change, 2)) == ("throttled", 0.6)


@pytest.mark.parametrize(("seconds", "numbers"), [(40, [1]), (110, [1, 2])])
def test_a_sustained_run_of_a_minute_or_two_is_judged_by_its_own_thirds(seconds: float, numbers: list[int]) -> None:
    timer = timer_of(lambda run: 10 if run < 1500 else 16, runs=1, least_seconds=seconds)
    states = iter((2400.0, 1500.0, 1500.0))
    curve = sustain(
        timer, seconds=seconds,
        read_state=lambda: ThermalState(temperature_c=None, frequency_mhz=next(states), throttled=None),
    )  # fmt: skip
    assert [item.minute for item in curve.minutes] == numbers
    assert (curve.verdict, round(curve.change, 2)) == ("throttled", 0.6)


def test_a_device_that_throttled_in_the_middle_of_a_sustained_run_is_throttled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = Sustained(
        seconds=180, minutes=tuple(minutes([10, 10, 10], [None] * 3, flag=True)), change=0, verdict="steady"
    )
    monkeypatch.setattr("edgeseg.bench.latency.sustain", lambda timer, **_options: timer.block(1) or curve)
    make_artifact(tmp_path / "tiny", file_format="onnx")
    with load(tmp_path / "tiny") as session:
        measured = bench_sustained(session, seconds=1, warmup=0, images=[image()], memory=False)
    assert measured.device.throttled is True


def test_the_least_seconds_are_those_of_the_runs_that_the_record_holds() -> None:
    """MLPerf's rule is checked on the record's own times, so what passes between two runs must not count."""
    session = FakeSession(lambda _run: 0.05)
    ticks = iter(range(10**9))
    timer = SessionTimer(
        session, [image()], runs=8, least_seconds=0.01, read_energy_uj=dict,
        clock_ns=lambda: session.now_ns + 1000 * next(ticks),
    )  # type: ignore[arg-type]  # fmt: skip
    while not timer.is_done:
        timer.block(8)
    assert sum(map(sum, timer.rows_ns)) >= 1e7


def test_mlperf_records_keep_its_rule() -> None:
    method = TimingMethod(
        protocol="mlperf-single-stream", session="", least_runs=1024, least_seconds=60, rounds=10, settled=True
    )
    long = dataclasses.replace(measurement(), latency=stages(60, runs=1024), fps=16.23)
    assert dataclasses.replace(long, method=method).method == method
    for runs in (1023, 200):
        with pytest.raises(ValueError, match=f"mlperf-single-stream with {runs} runs in .* it takes 1024 and 60 s"):
            dataclasses.replace(long, latency=stages(60, runs=runs), method=method)


def test_a_roofline_is_of_the_precision_that_is_computed_in() -> None:
    record = measurement(infer_ms=5.0)
    found = roofline(record, macs=250_000_000, peak=Peak(gops=400.0, library="numpy"))
    assert found == Roofline(
        precision="fp32", macs=250_000_000, gops=100.0, peak_gops=400.0, fraction=0.25, peak_of="numpy"
    )
    assert roofline(record, macs=None, peak=Peak(gops=400.0, library="numpy")) is None
    assert dataclasses.replace(record, roofline=found).roofline == found
    with pytest.raises(ValueError, match=r"roofline.gops is 100; 2 macs / p50_ms of infer is 50"):
        dataclasses.replace(measurement(infer_ms=10.0), roofline=found)
    assert computed_in(measurement(precision="int8")) == "int8"
    assert computed_in(dataclasses.replace(record, inference_precision="bf16")) is None


def test_the_peak_is_measured_here_in_both_precisions() -> None:
    for precision, library in (("fp32", "numpy"), ("int8", "ONNX Runtime")):
        peak = measure_peak(precision, threads=1)
        assert peak is not None
        assert peak.library.startswith(library)
        assert peak.gops > 0


def test_data_of_other_classes_is_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_artifact(tmp_path / "tiny", file_format="onnx")
    monkeypatch.setattr("edgeseg.verbs.bench._time", lambda *_given, **_options: pytest.fail("timed"))
    with pytest.raises(InputError, match="streets and tiny do not have the same classes"):
        bench([tmp_path / "tiny"], data="streets:2")
