"""Each observer's range of a histogram, against one worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.calibration.observers import BINS, Entropy, RangeObserver, ValueHistogram, divergence
from edgeseg.core import registry
from edgeseg.errors import UnknownName
from edgeseg.export.observing import range_observer


def histogram(low: float, high: float, **counts: float) -> ValueHistogram:
    """Return a histogram with counts at bins `b0`, `b17`, ..."""
    found = ValueHistogram(low=low, high=high)
    for name, count in counts.items():
        found.counts[int(name[1:])] = count
    return found


def test_minmax_keeps_the_lone_outlier() -> None:
    assert range_observer("minmax").range_of(histogram(0.0, 2048.0, b0=1e6, b2047=1)) == (0.0, 2048.0)


def test_percentile_cuts_half_of_its_share_at_each_end() -> None:
    """Of 100 000 values 0.005 %, five, may lie beyond each end: six at bin 2000 are kept, four at bin 2040 are cut."""
    seen = histogram(-1024.0, 1024.0, b10=4, b1000=99_986, b2000=6, b2040=4)
    assert range_observer("percentile").range_of(seen) == (min(0.0, -1024.0 + 1000), -1024.0 + 2001)


def test_percentile_of_values_above_zero_still_holds_zero() -> None:
    assert range_observer("percentile").range_of(histogram(0.0, 2048.0, b1024=7))[0] == 0.0


def test_the_squared_error_of_two_values_is_least_where_both_are_steps() -> None:
    """Everything at 5.0 and at 0: any range that ends at 5 stores both exactly, one that ends at 10 nearly so."""
    seen = histogram(0.0, 10.0, b0=100, b1023=100, b2047=0)
    low, high = range_observer("mse").range_of(seen)
    assert low == 0.0
    step = high / 255
    assert abs(round(seen.centres[1023] / step) * step - seen.centres[1023]) < 0.002
    assert abs(round(seen.centres[0] / step) * step - seen.centres[0]) < 0.01


def test_divergence_by_hand() -> None:
    """Two bins of one step hold 3 and 1: stored, they are 2 and 2, and KL = 3/4 ln 3/2 + 1/4 ln 1/2."""
    seen = histogram(0.0, 2048.0, b1020=3, b1021=1)
    step = 2048.0 / 255
    assert round(seen.centres[1020] / step) == round(seen.centres[1021] / step)
    assert divergence(seen, 0.0, 2048.0) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_divergence_is_nothing_where_every_bin_has_a_step_of_its_own() -> None:
    seen = histogram(0.0, 2048.0, b0=5, b8=7, b16=9)
    assert divergence(seen, 0.0, 2048.0) == pytest.approx(0.0)


def test_entropy_clips_a_rare_outlier_and_keeps_what_is_common() -> None:
    seen = ValueHistogram(low=0.0, high=2048.0)
    seen.counts[:200] = 1000.0 * np.exp(-np.arange(200) / 40)
    seen.counts[2047] = 1.0
    low, high = Entropy().range_of(seen)
    assert low == 0.0
    assert 100.0 < high < 400.0
    flat = ValueHistogram(low=-8.0, high=8.0, counts=np.full(BINS, 10.0))
    assert Entropy().range_of(flat) == pytest.approx((-8.0, 8.0), rel=0.1)


@pytest.mark.parametrize("name", registry.names("observers"))
def test_every_observer_stays_within_the_values_and_holds_zero(name: str) -> None:
    found = range_observer(name)
    assert isinstance(found, RangeObserver)
    assert found.summary
    rng = np.random.default_rng(3)
    for low, high in ((-3.0, 5.0), (0.0, 6.0), (-2.0, 0.0)):
        low_found, high_found = found.range_of(ValueHistogram(low=low, high=high, counts=rng.random(BINS) ** 4))
        assert low - 1e-9 <= low_found <= 0.0 <= high_found <= high + 1e-9
        assert high_found - low_found > 0.0
    assert found.range_of(ValueHistogram()) == (0.0, 0.0)


def test_an_unknown_observer_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='Did you mean "entropy"'):
        range_observer("entropie")
