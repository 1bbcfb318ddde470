"""The gate: twenty planted faults are refused, each by a measure that names it, and what is merely rounded passes."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import open_artifact
from edgeseg.core.quantization import SCHEMES
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.deploy import diagnosis
from edgeseg.deploy.diagnosis import diagnose_artifact
from edgeseg.deploy.gate import THRESHOLDS, judge, thresholds_for
from edgeseg.deploy.prove import open_for_proof, run_checked
from edgeseg.deploy.reference import Reference
from edgeseg.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("sky", "building", "pole", "road", "tree")
STRIDE, CELLS = 8, (24, 32)
SIZE = (CELLS[0] * STRIDE, CELLS[1] * STRIDE)
LOGITS = TensorSpec(name="logits", shape=(1, *CELLS, len(CLASSES)), dtype="float32", layout="NHWC", role="logits")
LABELS = TensorSpec(name="labels", shape=(1, *CELLS), dtype="int32", layout="NHW", role="labels")


def smooth(seed: int, *, step: float = 0.0) -> NDArray[np.float32]:
    """Return logits (h, w, C): smooth waves of each class, `step` cells to the right; class 2 is rare."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: CELLS[0], : CELLS[1]].astype(np.float64)
    x = x - step
    planes = []
    for index in range(len(CLASSES)):
        waves = rng.uniform(0.1, 0.5, (3, 2)), rng.uniform(0, 6, 3)
        plane = sum(3 * np.sin(a * y + b * x + phase) for (a, b), phase in zip(*waves, strict=True))
        planes.append(plane - (4 if index == 2 else 0))
    return np.stack(planes, axis=-1).astype(np.float32)


def reference(*, in_domain: bool = True, count: int = 4, truths: bool = False) -> Reference:
    pixels = TensorSpec(name="pixels", shape=(1, 3, *SIZE), dtype="float32", layout="NCHW", role="image")
    spec = ModelSpec(
        name="net", architecture="none", classes=CLASSES, palette=((0, 0, 0),) * len(CLASSES), ignore_index=255,
        inputs=(pixels,), outputs=(LOGITS,), preprocess=Preprocess(), output_stride=STRIDE, weights_sha256="0" * 64,
        licence="Apache-2.0",
    )  # fmt: skip
    logits = tuple(smooth(seed)[None] for seed in range(count))
    centred = np.concatenate(logits) - np.concatenate(logits).mean(axis=-1, keepdims=True)
    made = Reference(
        spec=spec, images=(np.zeros((*SIZE, 3), np.uint8),) * count, logits=logits, tensor=LOGITS,
        rms=float(np.sqrt(np.square(centred).mean())), source="waves", in_domain=in_domain,
    )  # fmt: skip
    vague = dataclasses.replace(made, logits=tuple(noisy(item, db=6) for item in logits))
    return dataclasses.replace(made, truths=tuple(map(vague.labels, range(count))) if truths else ())


def noisy(logits: NDArray[np.float32], *, db: float, seed: int = 0) -> NDArray[np.float32]:
    power = np.square(logits - logits.mean(axis=-1, keepdims=True)).mean()
    noise = np.random.default_rng(seed).normal(0, np.sqrt(power) * 10 ** (-db / 20), logits.shape)
    return (logits + noise).astype(np.float32)


GOOD_DB = {"fp32": 90.0, "fp16": 45.0, "int8": 22.0}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("head", [LOGITS, LABELS], ids=["logits", "labels"])
@pytest.mark.parametrize("in_domain", [True, False])
def test_rounding_passes(precision: str, head: TensorSpec, in_domain: bool) -> None:
    known = reference(in_domain=in_domain, truths=True)
    outputs = [noisy(item, db=GOOD_DB[precision], seed=index) for index, item in enumerate(known.logits)]
    if head is LABELS:
        outputs = [item.argmax(-1).astype(np.int32) for item in outputs]
    judged = judge(outputs, tensor=head, reference=known, scheme=SCHEMES[precision])
    assert judged.failures == ()
    report = judged.report
    assert report.thresholds == thresholds_for(SCHEMES[precision])
    assert [item.name for item in report.classes] == list(CLASSES)
    assert report.miou_change is not None
    assert report.miou_change.low <= report.miou_change.value <= report.miou_change.high


def _lost(logits: NDArray[np.float32], _: int) -> NDArray[np.float32]:
    gone = logits.copy()
    gone[..., 2] -= 8
    return gone


def _swapped(logits: NDArray[np.float32], _: int) -> NDArray[np.float32]:
    return logits[..., [0, 4, 2, 3, 1]]


def _dead_rows(logits: NDArray[np.float32], _: int) -> NDArray[np.float32]:
    cut = logits.copy()
    cut[:, CELLS[0] // 2 :] = cut[:, CELLS[0] // 2 - 1 : CELLS[0] // 2]
    return cut


FAULTS: dict[str, Callable[[NDArray[np.float32], int], NDArray[np.float32]]] = {
    "last range clipped low": lambda logits, _: np.minimum(logits, np.percentile(logits, 55)),
    "last range of one step": lambda logits, _: np.sign(logits) * 3,
    "last scale wrong by half, zero point off": lambda logits, _: np.clip(logits * 0.5 + 20, -20, 21),
    "one class lost": _lost,
    "two classes swapped": _swapped,
    "classes rotated": lambda logits, _: np.roll(logits, 1, axis=-1),
    "flipped left to right": lambda logits, _: logits[:, :, ::-1],
    "flipped upside down": lambda logits, _: logits[:, ::-1],
    "shifted by one cell": lambda logits, _: np.roll(logits, 1, axis=2),
    "shifted by two pixels": lambda _, index: smooth(index, step=2 / STRIDE)[None],
    "another image's output": lambda _, index: smooth(index + 40)[None],
    "the previous image's output": lambda _, index: smooth((index + 1) % 4)[None],
    "constant": lambda logits, _: np.broadcast_to(logits.mean(axis=(1, 2), keepdims=True), logits.shape),
    "negated": lambda logits, _: -logits,
    "one class's bias lost": lambda logits, _: logits + np.array([0, 0, 9, 0, 0], np.float32),
    "half of the rows dead": _dead_rows,
    "blurred": lambda logits, _: (np.roll(logits, 2, 1) + np.roll(logits, -2, 1) + logits) / 3,
    "noise as loud as the signal": lambda logits, index: noisy(logits, db=0, seed=index),
    "per-tensor steps": lambda logits, _: np.rint(logits / 6) * 6,
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("in_domain", [True, False], ids=["own", "foreign"])
def test_planted_faults_are_refused_even_in_int8(name: str, in_domain: bool) -> None:
    known = reference(in_domain=in_domain)
    outputs = [np.ascontiguousarray(FAULTS[name](item, index)) for index, item in enumerate(known.logits)]
    judged = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
    assert judged.failures, judged.report


def test_an_output_of_one_class_is_called_that() -> None:
    known = reference()
    outputs = [np.ascontiguousarray(FAULTS["constant"](item, index)) for index, item in enumerate(known.logits)]
    failures = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"]).failures
    assert ("output", "the same class everywhere") in [(item.measure, item.found) for item in failures]


@pytest.mark.parametrize(("share", "own", "foreign"), [(0.05, True, True), (0.15, False, True), (0.3, False, False)])
def test_a_class_may_lose_more_on_images_of_another_kind(share: float, own: bool, foreign: bool) -> None:
    def some_lost(logits: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        changed = logits.copy()
        lost = (logits.argmax(-1) == 2) & (np.random.default_rng(seed).random(logits.shape[:-1]) < share)
        changed[lost, 2] -= 8
        return changed

    for in_domain, passes in ((True, own), (False, foreign)):
        known = reference(in_domain=in_domain)
        outputs = [some_lost(item, index) for index, item in enumerate(known.logits)]
        judged = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
        assert ("pole" not in [item.name for item in judged.failures]) == passes, judged.failures


@pytest.mark.parametrize("in_domain", [True, False], ids=["own", "foreign"])
@pytest.mark.parametrize("step", [1 / 16, -1 / 16])
def test_half_a_pixel_is_refused_by_the_displacement(step: float, in_domain: bool) -> None:
    known = reference(in_domain=in_domain)
    outputs = [noisy(smooth(index, step=step)[None], db=45, seed=index) for index in range(4)]
    for precision in ("fp32", "fp16"):
        judged = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES[precision])
        shift = next(item for item in judged.failures if item.measure.startswith("displacement"))
        assert shift.found == "0.51 px"


@pytest.mark.parametrize(("pixels", "own", "foreign"), [(0.6, True, True), (1.1, False, True), (1.7, False, False)])
def test_int8_may_move_further_on_images_of_another_kind(pixels: float, own: bool, foreign: bool) -> None:
    step = pixels / 8  # in cells of the logits
    for in_domain, passes in ((True, own), (False, foreign)):
        known = reference(in_domain=in_domain)
        outputs = [smooth(index, step=step)[None] for index in range(4)]
        judged = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
        moved = [item.measure for item in judged.failures if item.measure.startswith("displacement")]
        assert (not moved) == passes, judged.failures


def test_a_refusal_names_the_class_and_the_image_that_shows_it_most() -> None:
    known = reference()
    lead = [np.diff(np.sort(item[0], axis=-1))[..., -1] for item in known.logits]
    shown = [((item[0].argmax(-1) == 2) & (lead[i] > 0.5 * known.rms)).sum() for i, item in enumerate(known.logits)]
    outputs = [_lost(item, 0) for item in known.logits]
    judged = judge(outputs, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
    first = judged.failures[0]
    assert (first.measure, first.name, first.image) == ("class", "pole", int(np.argmax(shown)))
    assert "decided pixels" in first.found
    assert first.required == "at least 90.0%"


def test_ground_truth_counts_only_beyond_its_interval() -> None:
    known = reference(truths=True, count=12)
    tight = dataclasses.replace(THRESHOLDS[0], label_agreement=0, decided_agreement=0, class_agreement=0, sqnr_db=-99.0,
                                boundary_agreement=0, displacement_px=99.0)  # fmt: skip
    mild = [noisy(item, db=25, seed=index) for index, item in enumerate(known.logits)]
    wrecked = [noisy(item, db=0, seed=index) for index, item in enumerate(known.logits)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(THRESHOLDS, 0, tight)
        good = judge(mild, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
        bad = judge(wrecked, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"])
    assert good.failures == ()
    assert bad.failures[-1].measure == "mIoU"
    assert {item.measure for item in bad.failures} == {"class", "mIoU"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [(lambda item: _swapped(item, 0), "building, tree are in another order"),
     (lambda item: item * 0.25, "its logits are 0.25 times the float ones"), (lambda item: noisy(item, db=3), "")],
)  # fmt: skip
def test_the_diagnosis_names_a_fault_only_if_undoing_it_helps(
    fault: Callable[[NDArray[np.float32]], NDArray[np.float32]], message: str
) -> None:
    known = reference()
    found = diagnose_artifact([fault(item) for item in known.logits], tensor=LOGITS, reference=known)
    assert message in found
    assert bool(found) == bool(message)


def test_many_classes_in_another_order_are_found_without_a_table_of_pairs() -> None:
    order = np.random.default_rng(1).permutation(150)
    wanted = [np.random.default_rng(2).normal(size=(200, 200, 150)).astype(np.float32)]
    tracemalloc.start()
    found = diagnosis._class_order([wanted[0][..., order]], wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [order[index] for index in found] == list(range(150))
    assert peak < 12 * wanted[0].nbytes, "150 x 150 values for each cell would be 3.6 GB"


def test_the_diagnosis_tries_the_order_of_the_colours() -> None:
    rng = np.random.default_rng(5)
    images = tuple(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(2))

    def net(image: NDArray[np.uint8], *, channel: int) -> NDArray[np.float32]:
        cells = image[::STRIDE, ::STRIDE, channel].astype(np.float32) / 32
        return np.stack([np.sin(cells + 1.3 * index) for index in range(len(CLASSES))], axis=-1)[None]

    logits = tuple(net(image, channel=2) for image in images)
    known = dataclasses.replace(reference(count=2), images=images, logits=logits)
    given = [net(image, channel=0) for image in images]
    found = diagnose_artifact(given, tensor=LOGITS, reference=known, rerun=lambda image: net(image, channel=0))
    assert "it reads blue for red" in found
    assert judge(given, tensor=LOGITS, reference=known, scheme=SCHEMES["int8"]).failures


def test_a_weight_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tiny.make_artifact(tmp_path / "a", file_format="onnx").folder
    model = onnx.load(folder / "model.onnx")
    bias = next(item for item in model.graph.initializer if item.name == "bias")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[1] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "bias"))
    onnx.save(model, str(folder / "model.onnx"))
    tiny.reseal(folder)
    message = "tiny-onnx is refused: .* gives NaN or infinity.*edgeseg bisect name the layer"
    with open_for_proof(open_artifact(folder)) as session, pytest.raises(GateError, match=message):
        run_checked(session, tiny.image())
