"""A foreign output in any layout and kind gives the same labels as its plain form."""

from __future__ import annotations

import numpy as np
import pytest
from deploy.foreign_files import spec

from edgeseg.core.file_io import FileIO, FileRules, FileTensor, Values
from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.errors import InputError
from edgeseg.model_files.description import TensorInfo
from edgeseg.model_files.interpret import FileInput, file_output
from edgeseg.pixels import decode
from edgeseg.pixels.file_output import session_output

H, W, C = 8, 12, 4
LOGITS = np.random.default_rng(5).normal(size=(1, C, H, W)).astype(np.float32)
IDS = LOGITS.argmax(1)
PIXELS = FileTensor(position=0, name="image", shape=(1, 3, 64, 96), dtype="float32")
GIVEN = FileInput(
    tensor=TensorSpec(name="image", shape=(1, 3, 64, 96), dtype="float32", layout="NCHW", role="image"),
    stored=PIXELS,
    preprocess=Preprocess(),
)
TWO = ("other", "person")


def described(stored: np.ndarray, **options: object) -> TensorInfo:
    return TensorInfo(
        position=0, name="out", shape=stored.shape, dtype=stored.dtype.name, stored_as=stored.dtype.name, **options
    )  # type: ignore[arg-type]


def labels(stored: np.ndarray, *, rules: FileRules | None = None, classes: tuple[str, ...] = ("a", "b", "c", "d"),
           **options: object) -> np.ndarray:  # fmt: skip
    said = spec(file=rules, classes=classes)
    found = file_output(described(stored, **options), stored[None], said, given=GIVEN, where="f.onnx")
    output = session_output(stored, file=found.file)
    assert output.shape == found.tensor.shape
    return decode(output, tensor=found.tensor, preprocess=Preprocess(), input_size=(H, W), size=(H, W))


@pytest.mark.parametrize("axes", ["NCHW", "NHWC", "CHW", "HWC"])
def test_logits_in_any_layout(axes: str) -> None:
    whole = LOGITS if "N" in axes else LOGITS[0]
    own = "NCHW" if "N" in axes else "CHW"
    np.testing.assert_array_equal(labels(whole.transpose([own.index(axis) for axis in axes])), IDS[0])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, H, W), (H, W), (1, H, W, 1), (1, 1, H, W)])
def test_class_ids_of_any_type_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    rules = FileRules(values="labels")
    np.testing.assert_array_equal(labels(IDS.astype(dtype).reshape(shape), rules=rules), IDS[0])


def test_ids_that_begin_at_one_and_others_are_ignored() -> None:
    stored = IDS.astype(np.int32) + 1
    stored[0, 0, 0] = 0
    stored[0, 0, 1] = 90
    found = labels(stored, rules=FileRules(ids=(1, 2, 3, 4)))
    assert found[0, 0] == found[0, 1] == 255
    np.testing.assert_array_equal(found[1:], IDS[0, 1:])


def test_a_background_channel_is_left_out() -> None:
    stored = np.concatenate((np.full_like(LOGITS[:, :1], 99), LOGITS), axis=1)
    np.testing.assert_array_equal(labels(stored, rules=FileRules(ids=(1, 2, 3, 4))), IDS[0])


def test_quantized_logits_keep_their_labels() -> None:
    stored = np.clip(np.rint(LOGITS / 0.05) + 3, -128, 127).astype(np.int8)
    assert np.mean(labels(stored, scale=0.05, zero_point=3) == IDS[0]) > 0.97


@pytest.mark.parametrize(("kind", "op"), [("logits", ""), ("probabilities", "sigmoid")])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
@pytest.mark.parametrize("shape", [(1, H, W, 1), (1, 1, H, W), (1, H, W)])
def test_one_channel_is_two_classes_at_a_threshold(kind: Values, op: str, threshold: float, shape: object) -> None:
    z = LOGITS[:, 0]
    p = 1 / (1 + np.exp(-z))
    stored = (z if kind == "logits" else p).astype(np.float32).reshape(shape)  # type: ignore[call-overload]
    found = labels(stored, rules=FileRules(threshold=threshold), classes=TWO, last_op=op)
    np.testing.assert_array_equal(found, (p > threshold)[0])


def test_a_quantized_mask_is_read_with_its_scale() -> None:
    p = 1 / (1 + np.exp(-LOGITS[:, :1]))
    stored = np.rint(p * 255).astype(np.uint8)
    found = labels(stored, classes=TWO, last_op="sigmoid", scale=1 / 255, zero_point=0)
    np.testing.assert_array_equal(found, (stored[0, 0] > 127.5))


@pytest.mark.parametrize(
    ("stored", "rules", "options", "words"),
    [
        (LOGITS[:, :3], FileRules(), {}, "4 classes need 4 channels"),
        (IDS.astype(np.int32) + 1, FileRules(), {}, "holds the class id 4; .*ids in the spec"),
        (LOGITS, FileRules(values="probabilities"), {}, "no probabilities"),
        (LOGITS, FileRules(values="logits"), {"last_op": "softmax"}, "ends with softmax"),
        (LOGITS, FileRules(values="labels"), {}, "one value per pixel"),
        (LOGITS[:, 0], FileRules(values="labels"), {}, "fractions"),
        (LOGITS, FileRules(ids=(1, 2)), {}, "2 ids for 4 classes"),
        (LOGITS, FileRules(layout="HW"), {}, 'layout = "HW" does not fit'),
        (np.full_like(LOGITS, np.nan), FileRules(), {}, "NaN"),
    ],
)
def test_what_a_spec_contradicts_is_one_line(
    stored: np.ndarray, rules: FileRules, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        labels(stored, rules=rules, **options)


def test_nothing_is_copied_where_nothing_changes() -> None:
    file = FileIO(
        input=PIXELS,
        output=FileTensor(position=0, name="out", shape=LOGITS.shape, dtype="float32"),
        layout="NCHW",
        values="logits",
    )
    assert session_output(LOGITS, file=file) is LOGITS
