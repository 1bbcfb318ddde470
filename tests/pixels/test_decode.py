"""The sparse decoder against the plain definition: upsample everything, then argmax."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.errors import InputError
from edgeseg.pixels import decode, fit, prepare


def smooth_logits(classes: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((classes, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 2.0) for plane in noise])


def tensor_of(logits: np.ndarray, layout: str = "NCHW") -> TensorSpec:
    shape = (1, *logits.shape) if layout == "NCHW" else (1, *logits.shape[1:], logits.shape[0])
    return TensorSpec(name="logits", shape=shape, dtype="float32", layout=layout, role="logits")


def plain(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = [cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for plane in logits]
    return np.argmax(np.stack(planes), axis=0).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 128), (90, 120), (45, 77), (12, 16), (7, 5)])
def test_decode_is_upsample_then_argmax(size: tuple[int, int]) -> None:
    logits = smooth_logits(11, 12, 16)
    labels = decode(logits[None], tensor=tensor_of(logits), preprocess=Preprocess(), input_size=(96, 128), size=size)
    assert labels.shape == size
    assert (labels == plain(logits, size)).mean() > 0.9995  # OpenCV's own weights differ in the last bit


def test_layouts_and_quantized_logits_agree() -> None:
    logits = smooth_logits(5, 8, 8)
    quantized = np.clip(np.rint(logits / 0.02), -128, 127).astype(np.int8)
    options = {"preprocess": Preprocess(), "input_size": (64, 64), "size": (64, 64)}
    first = decode(quantized[None], tensor=tensor_of(logits), **options)
    nhwc = quantized.transpose(1, 2, 0)[None]
    assert np.array_equal(first, decode(nhwc, tensor=tensor_of(logits, "NHWC"), **options))
    real = decode(quantized[None].astype(np.float32) * 0.02, tensor=tensor_of(logits), **options)
    assert (first == real).mean() > 0.998  # exact ties of small integers are none after rounding


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(64, 128), (128, 256), (256, 512)])
def test_of_small_integers_every_pixel_is_exact_and_ties_go_to_the_first_class(
    size: tuple[int, int], seed: int
) -> None:
    logits = np.random.default_rng(seed).integers(-4, 5, (7, 8, 16)).astype(np.int8)
    logits[:, 2:5, 3:9] = logits[:, 2:3, 3:4]  # a region of one class, and one where classes tie
    logits[3, 5:] = logits[4, 5:]
    labels = decode(logits[None], tensor=tensor_of(logits), preprocess=Preprocess(), input_size=(64, 128), size=size)
    assert np.array_equal(labels, exact(logits, size[0] // 8))


def exact(logits: np.ndarray, factor: int) -> np.ndarray:
    """The definition, without rounding: integers times sixteenths or so, in float64."""

    def along(values: np.ndarray, axis: int) -> np.ndarray:
        cells = values.shape[axis]
        position = np.clip((np.arange(cells * factor) + 0.5) / factor - 0.5, 0, cells - 1)
        low = np.floor(position).astype(int)
        share = (position - low).reshape(-1, *[1] * (values.ndim - 1 - axis))
        low_values = values.take(low, axis=axis)
        return low_values + (values.take(np.minimum(low + 1, cells - 1), axis=axis) - low_values) * share

    return along(along(logits.astype(np.float64), 1), 2).argmax(axis=0).astype(np.uint8)


def test_every_size_up_to_many_times_the_grid() -> None:
    logits = smooth_logits(19, 9, 13, seed=5)
    for size in [(72, 104), (480, 640), (333, 777), (9, 13), (5, 200)]:
        labels = decode(
            logits[None], tensor=tensor_of(logits), preprocess=Preprocess(), input_size=(72, 104), size=size
        )
        assert (labels == plain(logits, size)).mean() > 0.9995
        assert labels.flags.c_contiguous


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    logits = smooth_logits(11, 12, 16, seed=3)
    upsampled = torch.nn.functional.interpolate(torch.from_numpy(logits[None]), scale_factor=8, mode="bilinear")
    labels = decode(
        logits[None], tensor=tensor_of(logits), preprocess=Preprocess(), input_size=(96, 128), size=(96, 128)
    )
    assert (labels == upsampled.argmax(1)[0].numpy()).mean() > 0.9999


def test_letterbox_is_undone() -> None:
    preprocess = Preprocess(resize="letterbox", in_graph=True)
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 50:] = 255
    tensor = TensorSpec(name="image", shape=(1, 64, 64, 3), dtype="uint8", layout="NHWC", role="image")
    pixels = prepare(image, preprocess=preprocess, tensor=tensor)
    assert pixels.shape == (1, 64, 64, 3)
    assert (pixels[0, 0] == 114).all()
    white = (pixels[0, :, :, 0] > 127).astype(np.uint8)
    labels_spec = TensorSpec(name="labels", shape=(1, 64, 64), dtype="uint8", layout="NHW", role="labels")
    labels = decode(white[None], tensor=labels_spec, preprocess=preprocess, input_size=(64, 64), size=(40, 100))
    assert (labels == (image[:, :, 0] > 0)).mean() > 0.98


def test_prepare_normalises_on_the_host_when_the_graph_does_not() -> None:
    image = np.full((4, 4, 3), (255, 0, 0), np.uint8)  # blue
    tensor = TensorSpec(name="image", shape=(1, 3, 4, 4), dtype="float32", layout="NCHW", role="image")
    pixels = prepare(image, preprocess=Preprocess(in_graph=False), tensor=tensor)
    expected = (np.array([0, 0, 1]) - (0.485, 0.456, 0.406)) / np.array((0.229, 0.224, 0.225))
    assert np.allclose(pixels[0, :, 0, 0], expected, atol=1e-6)


def test_an_image_that_is_none_is_refused() -> None:
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(InputError, match="uint8"):
            fit(image, preprocess=Preprocess(), size=(8, 8))
