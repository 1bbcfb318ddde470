"""What was seen is kept by content: an interrupted calibration goes on, a repeated one does not look again."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts.deployable import deployable
from torch import nn

from edgeseg.calibration import cache as cache_file
from edgeseg.calibration.cache import ContentCache, NetCache
from edgeseg.calibration.stored import StoredTensors
from edgeseg.core.trust import STATE_VARIABLE
from edgeseg.export import calibrate_ranges, calibrating, observing
from edgeseg.graph.node_values import NodeObserver

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.calibration.observers import Ends, ValueHistogram


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    return tmp_path / "calibration"


def lines(state: Path, kind: str) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in state.glob(f"*/{kind}.jsonl"))


def test_an_interrupted_calibration_goes_on_and_a_repeated_one_runs_no_image(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = deployable()

    def stop(_what: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_ranges(checkpoint, "streets:3", observer="minmax", on_progress=stop)
    assert lines(state, "seen") == 2
    first = calibrate_ranges(checkpoint, "streets:3", observer="minmax")
    assert (lines(state, "seen"), lines(state, "spans"), lines(state, "ranges")) == (3, 3, 1)
    monkeypatch.setattr(NodeObserver, "run", None)
    again = calibrate_ranges(checkpoint, "streets:3", observer="minmax")
    assert again == first
    assert lines(state, "seen") == 3


class HalfRange:
    """An observer of another package, which its author changes between two calibrations."""

    summary = "a share of the range"
    share = 0.5

    def range_of(self, seen: ValueHistogram) -> Ends:
        return self.share * seen.low, self.share * seen.high


def test_a_changed_observer_of_another_package_gives_new_ranges(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, theirs = deployable(), HalfRange()
    monkeypatch.setattr(observing, "range_observer", lambda _name: theirs)
    monkeypatch.setattr(calibrating, "check_kinds", lambda **_names: None)
    before = calibrate_ranges(checkpoint, "streets:2", observer="theirs").ranges.ranges
    theirs.share = 1.0
    after = calibrate_ranges(checkpoint, "streets:2", observer="theirs").ranges.ranges
    doubled = [new.high == pytest.approx(2 * old.high) for old, new in zip(before, after, strict=True) if old.high > 0]
    assert sum(doubled) >= len(doubled) - 2  # the image and the logits keep theirs
    assert lines(state, "spans") == 2  # what the images hold is kept all the same


def test_other_weights_are_another_net(state: Path) -> None:
    checkpoint = deployable()
    calibrate_ranges(checkpoint, "streets:1", observer="minmax")
    next(module for module in checkpoint.net.modules() if isinstance(module, nn.Conv2d)).weight.data.mul_(2.0)
    calibrate_ranges(checkpoint, "streets:1", observer="minmax")
    assert len(list(state.iterdir())) == 2


def test_a_line_that_was_cut_off_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "seen.jsonl"
    ContentCache(path).put("a", {"x": 1})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key":"b","val')
    found = ContentCache(path)
    assert found.get("a") == {"x": 1}
    assert found.get("b") is None


def test_only_so_many_nets_are_kept(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_file, "NETS_KEPT", 2)
    for name in ("a", "b", "c"):
        NetCache(name).of("seen").put("k", {})
    assert len(list(state.iterdir())) == 2
    assert (state / "c").is_dir()


def test_a_place_that_cannot_be_written_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "file"))
    kept = NetCache("a").of("seen")
    kept.put("k", {"x": 1})
    assert kept.get("k") == {"x": 1}


def test_stored_tensors_are_read_back_one_at_a_time() -> None:
    rng = np.random.default_rng(0)
    tensors = [rng.integers(0, 256, (1, 4, 5, 3), np.uint8) for _ in range(3)]
    stored = StoredTensors(iter(tensors))
    gc.collect()
    assert len(stored) == 3
    for mine, theirs in zip(stored, tensors, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(stored[-1], tensors[2])
    assert [item.shape for item in stored[:2]] == [(1, 4, 5, 3)] * 2
    stored[0][:] = 7
    np.testing.assert_array_equal(stored[0], tensors[0])
    assert len(StoredTensors(iter(()))) == 0
