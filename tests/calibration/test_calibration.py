"""Which images are taken, which are refused, and what is said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts.deployable import deployable

from edgeseg.calibration import CalibrationSelection, open_source, select
from edgeseg.calibration.selections import SeenImage
from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import Ranges
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.data.streets import CLASSES, PALETTE
from edgeseg.errors import DatasetError, InputError
from edgeseg.export import calibrate_ranges

if TYPE_CHECKING:
    from pathlib import Path

TENSOR = TensorSpec(name="image", shape=(1, 32, 48, 3), dtype="uint8", layout="NHWC", role="image")
SPEC = ModelSpec(
    name="t", architecture="fast_scnn", classes=CLASSES, palette=PALETTE, ignore_index=255, inputs=(TENSOR,),
    outputs=(), preprocess=Preprocess(), output_stride=8, weights_sha256="", licence="",
)  # fmt: skip


def save(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (32, 48)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03d}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
    return folder


def seen(pixels: np.ndarray) -> SeenImage:
    shares = pixels / max(1, pixels.sum())
    return SeenImage(class_pixels=pixels, probabilities=shares, features=shares, entropy=0.5)


def every_class(tensor: np.ndarray) -> SeenImage:
    return seen(np.full(len(CLASSES), 10))


def texts(chosen: CalibrationSelection) -> list[str]:
    return [str(item) for item in chosen.findings]


def choose(source: str, *, count: int = 64, seed: int = 0, force: bool = False) -> CalibrationSelection:
    return select(
        open_source(source, allow_held_out=force), spec=SPEC, tensor=TENSOR, see=every_class, count=count, seed=seed
    )


def test_the_train_split_of_a_data_set_is_taken(tmp_path: Path) -> None:
    save(tmp_path / "set" / "images" / "train", 40)
    save(tmp_path / "set" / "images" / "val", 3)
    (tmp_path / "set" / "LICENSE.txt").write_text("Creative Commons CC-BY-4.0\n")
    chosen = choose(str(tmp_path / "set"), count=33)
    assert chosen.calibration.split == "train"
    assert chosen.calibration.licence == "CC-BY-4.0"
    assert chosen.calibration.source == "set/images/train"
    assert chosen.calibration.statistics is not None
    assert chosen.calibration.statistics.images == 33
    assert chosen.calibration.statistics.mean == pytest.approx((0.5, 0.5, 0.5), abs=0.02)
    assert len(set(chosen.calibration.item_ids)) == len(chosen.tensors) == 33
    assert chosen.findings == ()


@pytest.mark.parametrize("split", ["val", "test"])
def test_held_out_images_are_refused_unless_forced(tmp_path: Path, split: str) -> None:
    folder = save(tmp_path / "images" / split, 2)
    with pytest.raises(InputError, match=rf"{split} images.*--allow-held-out"):
        open_source(str(folder))
    assert open_source(str(folder), allow_held_out=True).split == split


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images"):
        open_source(str(tmp_path))


def test_constant_images_and_near_duplicates_are_left_out_and_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 33)
    cv2.imwrite(str(folder / "black.png"), np.zeros((32, 48, 3), np.uint8))
    copy = cv2.imread(str(folder / "005.png"))
    cv2.imwrite(str(folder / "copy.png"), np.clip(copy.astype(int) + 1, 0, 255).astype(np.uint8))
    chosen = choose(str(folder))
    assert len(chosen.tensors) == 33
    constant, duplicate = texts(chosen)
    assert "1 image is of one colour" in constant
    assert "black.png" in constant
    assert "near-duplicates" in duplicate
    assert {"copy.png", "005.png"} <= set(duplicate.replace("(", "").replace(")", "").replace(".", ". ").split()) or (
        "copy.png" in duplicate and "005.png" in duplicate
    )


def test_only_constant_images_are_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(InputError, match=r"no usable image.*black\.png"):
        choose(str(tmp_path))


def test_every_unreadable_image_is_named_or_left_out(tmp_path: Path) -> None:
    save(tmp_path, 6)
    broken = [tmp_path / "001.png", tmp_path / "004.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(DatasetError, match=r"2 images of .* cannot be read.*--skip-broken") as caught:
        choose(str(tmp_path))
    assert all(f"{path}: truncated PNG" in str(caught.value) for path in broken)
    source = open_source(str(tmp_path))
    chosen = select(source, spec=SPEC, tensor=TENSOR, see=every_class, skip_broken=True)
    assert len(chosen.tensors) == 4
    assert sum(text.startswith("Left out: ") for text in texts(chosen)) == 2


def test_few_small_and_misshapen_images_are_reported(tmp_path: Path) -> None:
    findings = " ".join(texts(choose(str(save(tmp_path, 3, size=(12, 40))))))
    assert "3 images are few" in findings
    assert "less than half the input's 32x48, first 12x40" in findings
    assert "stretching distorts them" in findings


def test_missing_classes_are_named(tmp_path: Path) -> None:
    found = seen(np.arange(len(CLASSES)) % 10)
    source = open_source(str(save(tmp_path, 2)))
    chosen = select(source, spec=SPEC, tensor=TENSOR, see=lambda tensor: found, count=2)
    assert "The model saw no sky, bicyclist: add images that show them." in texts(chosen)


def test_a_rare_class_is_sought(tmp_path: Path) -> None:
    source = open_source(str(save(tmp_path, 24)))
    calls: list[int] = []

    def see(tensor: np.ndarray) -> SeenImage:
        calls.append(0)
        pixels = np.zeros(len(CLASSES), int)
        pixels[0] = 100
        pixels[9] = 100 if len(calls) == 20 else 0  # only one candidate, late in the draw, shows a pedestrian
        return seen(pixels)

    chosen = select(source, spec=SPEC, tensor=TENSOR, see=see, count=8)
    assert chosen.calibration.class_pixels[9] == 100


def test_the_same_seed_gives_the_same_set_and_another_one_another(tmp_path: Path) -> None:
    folder = str(save(tmp_path, 30))
    first, again, other = choose(folder, count=5), choose(folder, count=5), choose(folder, count=5, seed=1)
    assert first.calibration == again.calibration
    assert first.calibration.sha256 != other.calibration.sha256


def test_calibrating_on_streets_gives_ranges_that_survive_their_file(tmp_path: Path) -> None:
    checkpoint = deployable()
    done = calibrate_ranges(checkpoint, "streets:4", count=3)
    assert done.ranges.weights_sha256 == checkpoint.spec.weights_sha256
    assert done.ranges.calibration.item_ids[0].startswith("streets-train-")
    assert sum(done.ranges.calibration.class_pixels) == 3 * 8 * 12
    assert any(item.kind == "few" for item in done.findings)
    write_json(done.ranges, tmp_path / "ranges.json")
    assert read_json(Ranges, tmp_path / "ranges.json") == done.ranges
