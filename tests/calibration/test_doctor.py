"""What the calibration doctor finds, on images that are wrong in a known way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts.deployable import deployable

from edgeseg.calibration import CalibrationSelection, open_source, select
from edgeseg.calibration.doctor import Screening, check_curve
from edgeseg.calibration.examination import examine, information
from edgeseg.calibration.selections import SeenImage
from edgeseg.calibration.sources import held_out_images
from edgeseg.cli.main import main
from edgeseg.core.input_statistics import InputStatistics
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.data import render_street
from edgeseg.errors import InputError
from edgeseg.export.observing import Spans
from edgeseg.models.checkpoint import save_checkpoint
from edgeseg.verbs.calibration_page import curve_plot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeseg.calibration import CalibrationFinding

TENSOR = TensorSpec(name="image", shape=(1, 32, 48, 3), dtype="uint8", layout="NHWC", role="image")
SPEC = ModelSpec(
    name="t", architecture="fast_scnn", classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), ignore_index=255,
    inputs=(TENSOR,), outputs=(), preprocess=Preprocess(), output_stride=8, weights_sha256="", licence="",
)  # fmt: skip


def save(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{folder.name}{index:02d}.png"), image)
    return folder


def noise(count: int, *, seed: int, low: int = 0, high: int = 256) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(low, high, (32, 48, 3), np.uint8) for _ in range(count)]


def unsure(tensor: np.ndarray) -> SeenImage:
    return SeenImage(
        class_pixels=np.array([5, 5]), probabilities=np.array([0.5, 0.5]), features=np.zeros(1), entropy=1.0
    )


def sure_when(right: Callable[[np.ndarray], bool]) -> Callable[[np.ndarray], SeenImage]:
    """A model that tells two classes apart on the right input, and guesses on any other."""

    def see(tensor: np.ndarray) -> SeenImage:
        found = unsure(tensor)
        return SeenImage(
            class_pixels=found.class_pixels, probabilities=found.probabilities, features=found.features,
            entropy=0.1 if right(tensor) else 0.9,
        )  # fmt: skip

    return see


def chosen_from(folder: Path, *, see: Callable[[np.ndarray], SeenImage] = unsure) -> CalibrationSelection:
    return select(open_source(str(folder)), spec=SPEC, tensor=TENSOR, see=see, kind="random")


def kinds(found: tuple[CalibrationFinding, ...]) -> list[tuple[str, str]]:
    return [(item.kind, item.severity) for item in found]


def test_information_by_hand() -> None:
    """Two sure images of one class each tell all there is to tell; guesses and one class everywhere tell nothing."""
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    made = [SeenImage(class_pixels=a, probabilities=shares, features=a, entropy=0.0) for shares in (a, b)]
    assert information(made) == pytest.approx(1.0)
    assert information(made[:1]) == pytest.approx(0.0)
    assert information([unsure(a)]) == pytest.approx(0.0)


def test_an_image_of_two_splits_is_blocking_and_a_neighbouring_frame_is_not(tmp_path: Path) -> None:
    train = noise(5, seed=0)
    shifted = np.clip(train[3].astype(int) + 12, 0, 255).astype(np.uint8)
    save(tmp_path / "images" / "train", train)
    save(tmp_path / "images" / "val", [*noise(2, seed=1), train[1]])
    save(tmp_path / "images" / "test", [shifted])
    folder = tmp_path / "images" / "train"
    found = examine(chosen_from(folder), spec=SPEC, see=unsure, held_out=held_out_images(str(folder)))
    assert kinds(found) == [("leakage", "blocking"), ("near-duplicate", "warning")]
    assert "1 image is also val image, first train01.png (as val02.png)" in str(found[0])
    assert "train03.png (as test00.png)" in str(found[1])
    assert held_out_images(str(tmp_path))[0].split == "val"
    assert held_out_images("streets:4") == ()


def scratched(seed: int) -> np.ndarray:
    """A surface lit from the left, always the same, with a scratch of 24 x 10 pixels at a place of its own."""
    rng = np.random.default_rng(seed)
    lit = np.repeat(np.linspace(160, 90, 160)[None, :, None], 120, axis=0).repeat(3, axis=2)
    top, left = rng.integers(0, (110, 136))
    lit[top : top + 10, left : left + 24] = 30
    return np.clip(lit + rng.normal(0, 2, lit.shape), 0, 255).astype(np.uint8)


def test_small_defects_on_one_surface_are_neither_duplicates_nor_leakage(tmp_path: Path) -> None:
    save(tmp_path / "images" / "train", [scratched(seed) for seed in range(12)])
    save(tmp_path / "images" / "val", [*(scratched(seed) for seed in range(12, 18)), scratched(3)])
    folder = tmp_path / "images" / "train"
    chosen = chosen_from(folder)
    assert len(chosen.seen) == 12
    found = examine(chosen, spec=SPEC, see=unsure, held_out=held_out_images(str(folder)))
    assert kinds(found) == [("leakage", "blocking")]
    assert "1 image is also val image, first train03.png (as val06.png)" in str(found[0])


def test_a_frame_that_was_compressed_again_is_the_same_image(tmp_path: Path) -> None:
    street = render_street(1)[0]
    again = cv2.imdecode(cv2.imencode(".jpg", street, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
    assert again is not None
    screening = Screening()
    assert screening.accepts("a", street) is not None
    assert screening.accepts("b", np.asarray(again, np.uint8)) is None
    save(tmp_path / "images" / "train", [street, *noise(3, seed=0)])
    save(tmp_path / "images" / "val", [np.asarray(again, np.uint8)])
    folder = tmp_path / "images" / "train"
    found = examine(chosen_from(folder), spec=SPEC, see=unsure, held_out=held_out_images(str(folder)))
    assert kinds(found) == [("leakage", "blocking")]


def test_red_and_blue_swapped_is_found_by_what_the_model_sees(tmp_path: Path) -> None:
    """The model wants a red that spans everything. `save` writes BGR: red is the last channel of the file."""
    wants_red = sure_when(lambda tensor: int(np.ptp(tensor[..., 0])) > 200)
    right = noise(8, seed=0, low=100, high=140)
    for image in right:
        image[..., 2] = np.where(image[..., 2] > 120, 255, 0)
    good = chosen_from(save(tmp_path / "good", right), see=wants_red)
    assert examine(good, spec=SPEC, see=wants_red) == ()
    wrong = chosen_from(save(tmp_path / "wrong", [image[..., ::-1] for image in right]), see=wants_red)
    (found,) = examine(wrong, spec=SPEC, see=wants_red)
    assert (found.kind, found.severity) == ("colour-order", "blocking")
    assert 'Set color_order = "bgr"' in str(found)
    few = chosen_from(save(tmp_path / "few", [image[..., ::-1] for image in right[:7]]), see=wants_red)
    assert examine(few, spec=SPEC, see=wants_red) == (), "on seven images it may be chance"


def test_a_net_that_normalises_by_itself_is_found(tmp_path: Path) -> None:
    """ImageNet's normalisation is undone by bytes from 104 (blue, black) to 182 (red, white): nothing else is right."""
    wants_plain = sure_when(lambda tensor: tensor.min() >= 100 and tensor.max() <= 185)
    chosen = chosen_from(save(tmp_path, noise(8, seed=0)), see=wants_plain)
    (found,) = examine(chosen, spec=SPEC, see=wants_plain)
    assert (found.kind, found.severity) == ("normalised-twice", "blocking")


def test_images_of_another_kind_than_those_of_the_training_are_named(tmp_path: Path) -> None:
    like = InputStatistics(mean=(0.5,) * 3, std=(0.29,) * 3, histogram=((1 / 32,) * 32,) * 3, images=9)
    same = chosen_from(save(tmp_path / "same", noise(4, seed=0)))
    assert examine(same, spec=SPEC, see=unsure, trained_like=like) == ()
    dark = chosen_from(save(tmp_path / "dark", noise(4, seed=0, high=60)))
    assert kinds(examine(dark, spec=SPEC, see=unsure, trained_like=like)) == [("domain", "warning")]


def test_images_that_were_scaled_before_they_were_stored_are_told_from_lens_caps(tmp_path: Path) -> None:
    save(tmp_path, noise(3, seed=0, high=2))
    with pytest.raises(InputError, match=r"no value above 1 of 255.*Store them as 0 to 255"):
        chosen_from(tmp_path)


def test_the_curve_of_the_ranges_by_hand() -> None:
    """Widths 2, 3, 4, 4 and 1, 1, 1, 1: means of their shares are (0.5 + 1) / 2, (0.75 + 1) / 2, 1, 1."""
    spans = Spans()
    for high in (2.0, 3.0, 4.0, 1.0):
        spans.add(np.zeros(1), {"a": (0.0, high), "b": (-1.0, 0.0), "dead": (0.0, 0.0)}, new=False)
    assert spans.curve() == ((1, 0.75), (2, 0.875), (4, 1.0))
    (found,) = check_curve(spans.curve())
    assert "4 images are few: with 2 of them the ranges have 88% of their width" in str(found)
    assert check_curve(((1, 0.9), (2, 0.99), (4, 1.0))) == ()
    assert curve_plot(spans.curve()).count("<circle") == 3


def test_blocking_findings_are_status_3_and_shown_as_text_json_and_html(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "net"
    checkpoint = deployable()
    save_checkpoint(net, net=checkpoint.net, spec=checkpoint.spec)
    images = noise(4, seed=0)
    save(tmp_path / "images" / "train", images)
    save(tmp_path / "images" / "val", images[2:3])
    words = ["calibrate", str(net), "--data", str(tmp_path / "images" / "train"), "--observer", "minmax"]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "1 image is also val image, first train02.png (as val00.png)" in said
    assert "--ignore-findings" in said
    assert not (net / "ranges.json").exists()
    page = tmp_path / "doctor.html"
    assert main([*words, "--check", "--html", str(page), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["path"] is None
    assert ["leakage", "blocking"] in [[item["kind"], item["severity"]] for item in found["doctor"]]
    assert [images for images, _ in found["curve"]] == [1, 2, 4]
    assert 'class="blocking"' in page.read_text(encoding="utf-8")
    assert "<svg" in page.read_text(encoding="utf-8")
    assert main([*words, "--ignore-findings"]) == 0
    assert json.loads((net / "ranges.json").read_text(encoding="utf-8"))["observer"] == "histogram-2048-minmax"
