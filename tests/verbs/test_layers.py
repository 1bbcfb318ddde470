"""What int8 costs layer by layer, on a checkpoint of which one range is spoilt: every verb must name that layer."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from compress.small_teacher import small_teacher

from edgeseg.analyze.quant_debug import debug_quant, int8_sensitivity, prune_sensitivity
from edgeseg.cli.main import main
from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import Range, Ranges
from edgeseg.data import open_dataset
from edgeseg.errors import InputError
from edgeseg.export import calibrate_ranges
from edgeseg.models import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

SPOILT = "net.encoder.features.0.0"
TOO_WIDE = 400.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint with the ranges that were observed on it."""
    folder = tmp_path_factory.mktemp("layers") / "whole"
    small_teacher(folder, classes=open_dataset("streets:2", split="train").classes)
    write_json(calibrate_ranges(load_checkpoint(folder), "streets:4").ranges, folder / "ranges.json")
    return folder


@pytest.fixture(scope="module")
def spoilt(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same checkpoint, of which the ranges at one layer are so wide that hardly a step of int8 is used."""
    folder = tmp_path_factory.mktemp("layers") / "spoilt"
    small_teacher(folder, classes=load_checkpoint(whole).spec.classes)
    ranges = read_json(Ranges, whole / "ranges.json")
    wide = tuple(
        Range(name=item.name, low=item.low * TOO_WIDE, high=item.high * TOO_WIDE) if at(item.name) else item
        for item in ranges.ranges
    )
    assert wide != ranges.ranges
    write_json(dataclasses.replace(ranges, ranges=wide), folder / "ranges.json")
    return folder


def at(point: str) -> bool:
    return point.startswith(f"{SPOILT}:")


def test_the_spoilt_layer_alone_costs_most(spoilt: Path, tmp_path: Path) -> None:
    found = int8_sensitivity(str(spoilt), data="streets:4", count=2, out=tmp_path)
    worst = max(found.layers, key=lambda item: item.labels_changed)
    assert at(worst.layer)
    assert worst.miou_lost is not None
    others = [item.labels_changed for item in found.layers if not at(item.layer)]
    assert worst.labels_changed > 3 * max(others)
    data, plot = found.files
    assert len(json.loads(data.read_text("utf-8"))["layers"]) == len(found.layers)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_without_labels_only_changed_labels_are_counted(whole: Path) -> None:
    found = int8_sensitivity(str(whole), count=1)
    assert found.data == "streets test"
    assert {item.miou_lost for item in found.layers} == {None}


def test_float_and_int8_part_at_the_spoilt_layer(whole: Path, spoilt: Path) -> None:
    # What int8 loses is within the bound: nothing need stay in float.
    healthy = debug_quant(str(whole), count=1, bound=0.9)
    assert healthy.float_layers == ()
    assert healthy.lost == healthy.lost_all_int8
    broken = debug_quant(str(spoilt), count=1)
    assert broken.diverges_at is not None
    assert at(broken.diverges_at)
    assert healthy.diverges_at != broken.diverges_at
    own = {item.layer: item.own_db for item in broken.layers}
    fine = {item.layer: item.own_db for item in healthy.layers}
    assert own.keys() == fine.keys()
    assert {name for name in own if own[name] != fine[name]} == {broken.diverges_at}


def test_the_fewest_layers_in_float_are_the_spoilt_one(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # An untrained net has no mIoU to lose: without labels the share that changes is bounded.
    assert main(["debug-quant", str(spoilt), "--count", "1", "--bound", "0.2", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "debug-quant.json").read_text("utf-8"))
    assert found["float_layers"] == [SPOILT]
    assert found["lost"] <= 0.2 < found["lost_all_int8"]
    printed = capsys.readouterr().out
    assert "with 1 layer in float" in printed
    assert f"--float-layers {SPOILT}" in printed.replace("\n", " ")


@pytest.mark.parametrize("bound", [-0.1, 1.5])
def test_a_bound_is_a_share(whole: Path, bound: float) -> None:
    with pytest.raises(InputError, match="0 to 1"):
        debug_quant(str(whole), bound=bound)


def test_groups_of_channels_are_scanned_and_drawn(whole: Path, tmp_path: Path) -> None:
    scan, files = prune_sensitivity(str(whole), data="streets:4", count=2, out=tmp_path)
    assert scan.images == 2
    by_group: dict[str, list[int]] = {}
    for item in scan.losses:
        assert 0 <= item.agreement <= 1
        assert item.macs_saved > 0
        by_group.setdefault(item.group, []).append(item.removed)
    assert all(removed == sorted(removed) for removed in by_group.values())
    assert [file.suffix for file in files] == [".json", ".png"]


def test_a_checkpoint_without_ranges_is_told_how_to_get_them(tmp_path: Path) -> None:
    folder = small_teacher(tmp_path / "bare", classes=("a", "b"))
    with pytest.raises(InputError, match="edgeseg calibrate"):
        int8_sensitivity(str(folder))
