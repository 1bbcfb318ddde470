"""An image to the input tensor: every type, layout and side of normalisation holds the same image."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.errors import InputError
from edgeseg.pixels import prepare

IMAGE = np.random.default_rng(5).integers(0, 256, (8, 12, 3), np.uint8)
RGB = IMAGE[..., ::-1].astype(np.float64)
IN_GRAPH, ON_HOST = Preprocess(), Preprocess(in_graph=False)
NORMALISED = (RGB / 255.0 - np.array(ON_HOST.mean)) / np.array(ON_HOST.std)


def tensor(dtype: str, layout: str, *, scale: float | None = None, zero_point: int | None = None) -> TensorSpec:
    shape = (1, 8, 12, 3) if layout == "NHWC" else (1, 3, 8, 12)
    return TensorSpec(
        name="image", shape=shape, dtype=dtype, layout=layout, role="image", scale=scale, zero_point=zero_point
    )  # type: ignore[arg-type]


def stored(spec: TensorSpec, preprocess: Preprocess) -> np.ndarray:
    """Return the real values (H, W, 3) that the tensor stands for."""
    found = prepare(IMAGE, preprocess=preprocess, tensor=spec)
    assert found.shape == spec.shape
    assert found.dtype == spec.dtype
    assert found.flags.c_contiguous
    values = found[0].transpose(1, 2, 0) if spec.layout == "NCHW" else found[0]
    real = values.astype(np.float64)
    return real if spec.scale is None else (real - (spec.zero_point or 0)) * spec.scale


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_pixels_are_the_images_own(dtype: str, layout: str) -> None:
    np.testing.assert_array_equal(stored(tensor(dtype, layout), IN_GRAPH), RGB)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_int8_pixels_do_not_wrap(layout: str) -> None:
    np.testing.assert_array_equal(stored(tensor("int8", layout, scale=1.0, zero_point=-128), IN_GRAPH), RGB)


def test_uint8_pixels_are_bytes_whatever_the_tensors_scale() -> None:
    spec = tensor("uint8", "NHWC", scale=0.0078, zero_point=127)
    np.testing.assert_array_equal(prepare(IMAGE, preprocess=IN_GRAPH, tensor=spec)[0], IMAGE[..., ::-1])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "step"),
    [
        ("float32", None, None, 1e-5),
        ("float16", None, None, 5e-3),
        ("int8", 0.02, -3, 0.011),
        ("uint8", 0.02, 125, 0.011),
    ],
)
def test_the_host_normalises(dtype: str, layout: str, scale: float | None, zero_point: int | None, step: float) -> None:
    found = stored(tensor(dtype, layout, scale=scale, zero_point=zero_point), ON_HOST)
    np.testing.assert_allclose(found, NORMALISED, atol=step)


def test_int8_without_a_scale_is_refused() -> None:
    with pytest.raises(InputError, match="int8 without a scale"):
        prepare(IMAGE, preprocess=IN_GRAPH, tensor=tensor("int8", "NHWC"))
