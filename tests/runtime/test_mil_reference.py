"""The reference evaluator against torch, op by op, on packages that coremltools wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgeseg.converters.coreml.package import quiet_coremltools
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.protocols import Engine
from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines import coreml, mil_reference
from edgeseg.runtime.engines.mil.package import open_package
from edgeseg.runtime.engines.mil.program import read_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeseg.core.artifact import Artifact

RANDOM = np.random.default_rng(3)
INPUT = RANDOM.normal(0, 3, (1, 8, 12, 10)).astype(np.float32)
T = torch.from_numpy(INPUT)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def write(
    folder: Path, body: Callable[[Any, Any], Any], *, half: bool = False, shape: tuple[int, ...] | None = None
) -> Path:
    """Write a package that computes `body(mb, x)`; coremltools' own passes may rewrite it, as in a conversion."""
    with quiet_coremltools():
        import coremltools as ct
        from coremltools.converters.mil import Builder

        @Builder.program(input_specs=[Builder.TensorSpec(shape=shape or INPUT.shape)], opset_version=ct.target.iOS17)
        def program(x: Any) -> Any:
            return body(Builder, x)

        model = ct.convert(
            program,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
        path = folder / "model.mlpackage"
        model.save(str(path))
    return path


def evaluate(path: Path, tensor: np.ndarray = INPUT) -> np.ndarray:
    return read_program(open_package(path)).evaluate(tensor)


DENSE, GROUPED, DEPTHWISE, WIDER = noise(6, 8, 3, 3), noise(12, 2, 3, 5), noise(8, 1, 5, 3), noise(16, 1, 3, 3)
UPWARDS = noise(8, 3, 3, 3)
POINT, BIAS, MATRIX = noise(5, 8, 1, 1), noise(6), noise(4, 10)
MEAN, VARIANCE, GAMMA = noise(8), np.abs(noise(8)) + 0.5, noise(8)

CASES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[], torch.Tensor]]] = {
    "conv": (
        lambda mb, x: mb.conv(x=x, weight=DENSE, bias=BIAS, strides=[2, 1], pad_type="custom", pad=[1, 0, 2, 1]),
        lambda: F.conv2d(F.pad(T, (2, 1, 1, 0)), torch.from_numpy(DENSE), torch.from_numpy(BIAS), (2, 1)),
    ),
    "conv grouped and dilated": (
        lambda mb, x: mb.conv(x=x, weight=GROUPED, groups=4, dilations=[2, 1], pad_type="valid"),
        lambda: F.conv2d(T, torch.from_numpy(GROUPED), groups=4, dilation=(2, 1)),
    ),
    "conv depthwise": (
        lambda mb, x: mb.conv(x=x, weight=DEPTHWISE, groups=8, strides=[2, 2], pad_type="custom", pad=[2, 2, 1, 1]),
        lambda: F.conv2d(T, torch.from_numpy(DEPTHWISE), groups=8, stride=2, padding=(2, 1)),
    ),
    "conv depthwise, two outputs a channel": (
        lambda mb, x: mb.conv(x=x, weight=WIDER, groups=8, pad_type="same"),
        lambda: F.conv2d(T, torch.from_numpy(WIDER), groups=8, padding="same"),
    ),
    "conv of one pixel, strided": (
        lambda mb, x: mb.conv(x=x, weight=POINT, strides=[2, 2], pad_type="valid"),
        lambda: F.conv2d(T, torch.from_numpy(POINT), stride=2),
    ),
    "conv_transpose": (
        lambda mb, x: mb.conv_transpose(
            x=x, weight=UPWARDS, bias=BIAS, groups=2, strides=[2, 3], dilations=[1, 2], pad_type="custom",
            pad=[1, 1, 0, 0],
        ),
        lambda: F.conv_transpose2d(
            T, torch.from_numpy(UPWARDS), torch.from_numpy(BIAS), (2, 3), (1, 0), groups=2, dilation=(1, 2)
        ),
    ),
    "conv_transpose, with an output shape": (
        lambda mb, x: mb.conv_transpose(
            x=x, weight=UPWARDS, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], output_shape=[1, 3, 24, 20],
        ),
        lambda: F.conv_transpose2d(T, torch.from_numpy(UPWARDS), stride=2, padding=1, output_padding=1),
    ),
    "norms": (
        lambda mb, x: mb.add(
            x=mb.layer_norm(x=x, axes=[-1], gamma=MATRIX[0], beta=MATRIX[1], epsilon=1e-5),
            y=mb.instance_norm(x=x, gamma=GAMMA, beta=MEAN, epsilon=1e-5),
        ),
        lambda: F.layer_norm(T, (10,), torch.from_numpy(MATRIX[0]), torch.from_numpy(MATRIX[1]))
        + F.instance_norm(T, weight=torch.from_numpy(GAMMA), bias=torch.from_numpy(MEAN)),
    ),
    "smooth activations": (
        lambda mb, x: mb.concat(
            values=[
                mb.silu(x=x), mb.gelu(x=x), mb.gelu(x=x, mode="TANH_APPROXIMATION"), mb.tanh(x=x),
                mb.elu(x=x, alpha=1.0),
                mb.leaky_relu(x=x, alpha=0.1), mb.prelu(x=x, alpha=np.abs(MEAN)), mb.exp(x=x),
                mb.rsqrt(x=mb.exp(x=x)), mb.sqrt(x=mb.exp(x=x)),
                mb.pow(x=mb.exp(x=x), y=0.3),
            ],
            axis=1,
        ),
        lambda: torch.cat(
            [
                F.silu(T), F.gelu(T), F.gelu(T, approximate="tanh"), T.tanh(), F.elu(T),
                F.leaky_relu(T, 0.1), F.prelu(T, torch.from_numpy(np.abs(MEAN))), T.exp(),
                T.exp().rsqrt(), T.exp().sqrt(), T.exp() ** 0.3,
            ],
            1,
        ),
    ),
    "parts": (
        lambda mb, x: mb.add(
            x=mb.reduce_sum(x=mb.slice_by_index(
                x=x, begin=[0, 2, 0, 1], end=[1, 8, 0, 9], stride=[1, 2, 1, 3],
                end_mask=[False, False, True, False],
            ), axes=[1], keep_dims=True),
            y=mb.reduce_max(x=mb.pad(x=x, pad=[1, 1, 2, 0], mode="reflect"), axes=[1, 2, 3], keep_dims=True),
        ),
        lambda: T[:, 2:8:2, :, 1:9:3].sum(1, keepdim=True)
        + F.pad(T, (2, 0, 1, 1), "reflect").amax((1, 2, 3), True),
    ),
    "upsample_nearest_neighbor": (
        lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda: F.interpolate(T, scale_factor=(2, 3), mode="nearest"),
    ),
    "avg_pool, padding counted": (
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 0, 0]),
        lambda: F.avg_pool2d(T, (3, 2), 2, (1, 0)),
    ),
    "avg_pool, padding excluded": (
        lambda mb, x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="custom", pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda: F.avg_pool2d(T, 3, 1, 1, count_include_pad=False),
    ),
    "max_pool": (
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda: F.max_pool2d(T, 3, 2, 1),
    ),
    "upsample_bilinear": (
        lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2.5, scale_factor_width=4.0, align_corners=False),
        lambda: F.interpolate(T, scale_factor=(2.5, 4.0), mode="bilinear"),
    ),
    "upsample_bilinear, corners aligned": (
        lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2.0, scale_factor_width=3.0, align_corners=True),
        lambda: F.interpolate(T, scale_factor=(2.0, 3.0), mode="bilinear", align_corners=True),
    ),
    "batch_norm": (
        lambda mb, x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=MEAN, epsilon=1e-3),
        lambda: F.batch_norm(T, *(torch.from_numpy(v) for v in (MEAN, VARIANCE, GAMMA, MEAN)), eps=1e-3),
    ),
    "linear": (
        lambda mb, x: mb.linear(x=x, weight=MATRIX, bias=MATRIX[:, 0]),
        lambda: F.linear(T, torch.from_numpy(MATRIX), torch.from_numpy(MATRIX[:, 0])),
    ),
    "matmul": (
        lambda mb, x: mb.matmul(x=x, y=x, transpose_y=True),
        lambda: T @ T.transpose(-1, -2),
    ),
    "activations": (
        lambda mb, x: mb.concat(
            values=[
                mb.relu(x=x), mb.relu6(x=x), mb.sigmoid(x=x), mb.softmax(x=x, axis=1),
                mb.clip(x=x, alpha=-1.0, beta=2.0), mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5),
                mb.thresholded_relu(x=x, alpha=-0.5),
            ],
            axis=1,
        ),
        lambda: torch.cat(
            [
                F.relu(T), F.relu6(T), T.sigmoid(), T.softmax(1),
                T.clamp(-1, 2), F.hardsigmoid(T), F.threshold(T, -0.5, 0),
            ],
            1,
        ),
    ),
    "arithmetic": (
        lambda mb, x: mb.maximum(x=mb.minimum(x=mb.real_div(x=mb.sub(x=x, y=MEAN[:1]), y=3.0), y=1.0), y=-0.5),
        lambda: ((T - torch.from_numpy(MEAN[:1])) / 3).clamp(-0.5, 1),
    ),
    "shapes": (
        lambda mb, x: mb.squeeze(
            x=mb.expand_dims(x=mb.reshape(x=mb.transpose(x=x, perm=[0, 2, 3, 1]), shape=[1, 12, -1]), axes=[0]),
            axes=[0],
        ),
        lambda: T.permute(0, 2, 3, 1).reshape(1, 12, 80),
    ),
    "reduce_mean": (lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), lambda: T.mean((2, 3), True)),
    "reduce_argmax": (lambda mb, x: mb.reduce_argmax(x=x, axis=1, keep_dims=False), lambda: T.argmax(1)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_computes_what_torch_does(case: str, tmp_path: Path) -> None:
    body, reference = CASES[case]
    got, wanted = evaluate(write(tmp_path, body)), reference().numpy()
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


def test_int8_pairs_are_exact(tmp_path: Path) -> None:
    def body(mb: Any, x: Any) -> Any:
        stored = mb.quantize(input=x, scale=0.05, zero_point=np.int8(-7), output_dtype="int8")
        return mb.dequantize(input=stored, scale=0.05, zero_point=np.int8(-7))

    wanted = torch.fake_quantize_per_tensor_affine(T, 0.05, -7, -128, 127).numpy()
    np.testing.assert_allclose(evaluate(write(tmp_path, body)), wanted, rtol=1e-6)


def test_half_programs_round_after_each_op(tmp_path: Path) -> None:
    got = evaluate(write(tmp_path, lambda mb, x: mb.mul(x=mb.add(x=x, y=0.1), y=np.float32(1.7)), half=True))
    # Tensors, not Python numbers: the program's constants are halves too.
    wanted = (T.half() + torch.full_like(T, 0.1).half()) * torch.full_like(T, 1.7).half()
    np.testing.assert_array_equal(got, wanted.float().numpy())


def test_unknown_ops_are_named_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, lambda mb, x: mb.erf(x=mb.relu(x=x)))
    with pytest.raises(UnsupportedError, match=r'line \d+: "erf" \(output .+\)'):
        read_program(open_package(path))


@pytest.mark.parametrize("fault", ["weights cut off", "weights missing", "no manifest", "no specification"])
def test_damaged_packages_end_in_one_clear_error(fault: str, tmp_path: Path) -> None:
    path = write(tmp_path, lambda mb, x: mb.conv(x=x, weight=DENSE, pad_type="valid"))
    (weights,) = path.rglob("weight.bin")
    if fault == "weights cut off":
        weights.write_bytes(weights.read_bytes()[:200])
    elif fault == "weights missing":
        weights.unlink()
    elif fault == "no manifest":
        (path / "Manifest.json").write_text(json.dumps({"a": 1}))
    else:
        next(path.rglob("*.mlmodel")).write_bytes(b"\xff\xff nothing")
    with pytest.raises(ArtifactError, match="again"):
        read_program(open_package(path))


def test_the_engine_says_that_it_is_no_device() -> None:
    engine = mil_reference.ENGINE
    assert isinstance(engine, Engine)
    assert engine.formats == ("coreml",)
    assert engine.status().available
    assert "not Apple hardware" in engine.status().reason
    assert "not Apple hardware" in engine.options()["hardware"]


def test_a_session_runs_an_image(tmp_path: Path) -> None:
    write(tmp_path, lambda mb, x: mb.add(x=x, y=1.0), shape=(1, 3, 4, 6))
    artifact = cast(
        "Artifact", SimpleNamespace(entry=tmp_path / "model.mlpackage", manifest=SimpleNamespace(output_position=0))
    )
    session = mil_reference.ENGINE.open(artifact, backend=ResolvedBackend(engine="mil-reference"))
    np.testing.assert_array_equal(session.run(np.full((1, 3, 4, 6), 255, np.uint8)), np.full((1, 3, 4, 6), 256.0))
    session.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is at home here")
def test_core_ml_itself_says_where_it_runs_and_what_runs_here() -> None:
    assert isinstance(coreml.ENGINE, Engine)
    status = coreml.ENGINE.status()
    assert not status.available
    assert "macOS" in status.reason
    assert "mil-reference" in status.fix


def test_evaluating_needs_neither_torch_nor_coremltools_imported(tmp_path: Path) -> None:
    path = write(tmp_path, lambda mb, x: mb.relu(x=x))
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from edgeseg.runtime.engines.mil.package import open_package;"
        "from edgeseg.runtime.engines.mil.program import read_program;"
        f"read_program(open_package(Path({str(path)!r}))).evaluate(np.zeros({INPUT.shape}, np.float32));"
        "assert not {'torch', 'coremltools', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
