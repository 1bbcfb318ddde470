"""Tiny real artifacts: one strided convolution from uint8 pixels to logits, the same weights in every format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from contracts.coreai_text import tiny_program

from edgeseg.core.artifact import (
    Artifact,
    ConversionReport,
    Golden,
    Lineage,
    Manifest,
    Parity,
    list_files,
    open_artifact,
)
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import write_json
from edgeseg.core.manifest_schema import MANIFEST_SCHEMA
from edgeseg.core.proof import Proof
from edgeseg.core.quantization import SCHEMES, Precision
from edgeseg.core.spec import Layout, ModelSpec, Preprocess, TensorSpec
from edgeseg.core.trust import remember
from edgeseg.pixels import decode, prepare

STRIDE = 8
SIZE = (64, 96)
CLASSES = ("sky", "building", "road", "tree")
PALETTE = ((128, 128, 128), (128, 0, 0), (128, 64, 128), (128, 128, 0))


def weights() -> tuple[np.ndarray, np.ndarray]:
    """Return the convolution's weights (classes, 8, 8, 3) and bias (classes,), float32: each class likes a colour."""
    liking = np.array([[1, -1, 0], [-1, 1, 0], [0, -1, 1], [0, 1, -1]], np.float32) * 0.05
    grain = np.random.default_rng(7).normal(1, 0.3, (STRIDE, STRIDE, 1)).astype(np.float32) / STRIDE**2
    kernel = liking[:, None, None, :] * grain[None]
    return kernel.astype(np.float32), (-128 * kernel.sum(axis=(1, 2, 3))).astype(np.float32)


def logits_of(tensor: np.ndarray) -> np.ndarray:
    """Return the logits (1, h, w, C) in plain numpy, float64 inside."""
    kernel, bias = weights()
    _, height, width, _ = tensor.shape
    blocks = tensor[0].reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE, 3).astype(np.float64)
    return (np.einsum("hawbc,kabc->hwk", blocks, kernel) + bias)[None].astype(np.float32)


def image(size: tuple[int, int] = SIZE, seed: int = 3) -> np.ndarray:
    """Return an image (H, W, 3) uint8 of soft blobs."""
    noise = np.random.default_rng(seed).normal(0, 1, (*size, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 9)
    return cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write_onnx(path: Path, size: tuple[int, int]) -> None:
    """Write the net as ONNX: NHWC uint8 in, NCHW float32 out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel, bias = weights()
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel", "bias"], ["logits"], strides=[STRIDE, STRIDE]),
    ]
    cells = (size[0] // STRIDE, size[1] // STRIDE)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(CLASSES), *cells])],
        [
            numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)), "kernel"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, str(path))


def write_openvino(path: Path, size: tuple[int, int]) -> None:
    """Write the net as OpenVINO IR: NHWC uint8 in, NCHW float32 out."""
    import openvino
    from openvino import opset13 as ops

    kernel, bias = weights()
    image = ops.parameter([1, *size, 3], np.uint8, name="image")
    planes = ops.transpose(ops.convert(image, np.float32), np.array([0, 3, 1, 2]))
    filters = ops.constant(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)))
    convolved = ops.convolution(planes, filters, [STRIDE, STRIDE], [0, 0], [0, 0], [1, 1])
    model = openvino.Model([ops.add(convolved, ops.constant(bias.reshape(1, -1, 1, 1)))], [image], "tiny")
    openvino.save_model(model, str(path), compress_to_fp16=False)


def write_tflite(path: Path, size: tuple[int, int]) -> None:
    """Write the net as TFLite: NHWC uint8 in, NHWC float32 out."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kernel, bias = weights()
    cells = (size[0] // STRIDE, size[1] // STRIDE)
    model = schema.ModelT()
    model.version = 3
    model.description = "tiny"
    model.buffers = [schema.BufferT() for _ in range(3)]
    for buffer, values in zip(model.buffers[1:], (kernel, bias), strict=True):
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tensors = (
        ("image", (1, *size, 3), schema.TensorType.UINT8, 0),
        ("real", (1, *size, 3), schema.TensorType.FLOAT32, 0),
        ("kernel", kernel.shape, schema.TensorType.FLOAT32, 1),
        ("bias", bias.shape, schema.TensorType.FLOAT32, 2),
        ("logits", (1, *cells, len(CLASSES)), schema.TensorType.FLOAT32, 0),
    )
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = "main", [0], [4]
    graph.tensors = [_tflite_tensor(schema, *tensor) for tensor in tensors]
    cast, convolution = schema.OperatorT(), schema.OperatorT()
    cast.opcodeIndex, cast.inputs, cast.outputs = 0, [0], [1]
    convolution.opcodeIndex, convolution.inputs, convolution.outputs = 1, [1, 2, 3], [4]
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = schema.Conv2DOptionsT()
    convolution.builtinOptions.padding = schema.Padding.VALID
    convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = STRIDE
    convolution.builtinOptions.dilationHFactor = convolution.builtinOptions.dilationWFactor = 1
    graph.operators, model.subgraphs = [cast, convolution], [graph]
    model.operatorCodes = [_tflite_code(schema, schema.BuiltinOperator.CAST, 1)]
    model.operatorCodes.append(_tflite_code(schema, schema.BuiltinOperator.CONV_2D, 1))
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def write_executorch(path: Path, size: tuple[int, int]) -> None:
    """Write the net as a .pte for XNNPACK: NHWC uint8 in, NCHW float32 out."""
    import torch

    from edgeseg.converters.executorch.lowering import lower

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kernel, bias = weights()
            self.convolution = torch.nn.Conv2d(3, len(CLASSES), STRIDE, stride=STRIDE)
            self.convolution.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)))
            self.convolution.bias.data = torch.from_numpy(bias)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.convolution(image.to(torch.float32).permute(0, 3, 1, 2))

    with torch.no_grad():
        program = torch.export.export(Net().eval(), (torch.zeros((1, *size, 3), dtype=torch.uint8),))
    path.write_bytes(lower(program))


def write_ncnn(path: Path, size: tuple[int, int]) -> None:
    """Write the net as ncnn's .param and .bin: NHWC in, as floats, NCHW float32 out."""
    kernel, bias = weights()
    planes = np.ascontiguousarray(kernel.transpose(0, 3, 1, 2))
    layers = (
        "Input image 0 1 image",
        "Permute permute 1 1 image planes 0=4",
        f"Convolution conv 1 1 planes logits 0={len(CLASSES)} 1={STRIDE} 3={STRIDE} 5=1 6={planes.size}",
    )
    path.write_text("\n".join(("7767517", "3 3", *layers)) + "\n")
    # Four zero bytes say that float32 weights follow.
    path.with_suffix(".bin").write_bytes(bytes(4) + planes.tobytes() + bias.tobytes())


def write_coreai(path: Path, size: tuple[int, int]) -> None:
    """Write the net as the text that the stand-in for Core AI's toolchain reads: NHWC uint8 in, NCHW float32 out."""
    kernel, bias = weights()
    path.mkdir()
    (path / "main.mlirb").write_text(tiny_program(kernel, bias, size, STRIDE))


def _tflite_tensor(schema: object, name: str, shape: tuple[int, ...], kind: int, buffer: int) -> object:
    tensor = schema.TensorT()  # type: ignore[attr-defined]
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    return tensor


def _tflite_code(schema: object, code: int, version: int) -> object:
    made = schema.OperatorCodeT()  # type: ignore[attr-defined]
    made.builtinCode, made.deprecatedBuiltinCode, made.version = code, code, version
    return made


Writer = Callable[[Path, tuple[int, int]], None]
FORMATS: dict[str, tuple[str, Writer, Layout, str]] = {
    "tflite": ("model.tflite", write_tflite, "NHWC", "litert"),
    "onnx": ("model.onnx", write_onnx, "NCHW", "onnxruntime"),
    "openvino": ("model.xml", write_openvino, "NCHW", "openvino"),
    "executorch": ("model.pte", write_executorch, "NCHW", "executorch"),
    "tensorrt-onnx": ("model.onnx", write_onnx, "NCHW", "onnx-reference"),
    "htp-onnx": ("model.onnx", write_onnx, "NCHW", "onnx-reference"),
    "coreai": ("model.aimodel", write_coreai, "NCHW", "coreai-reference"),
    "ncnn": ("model.ncnn.param", write_ncnn, "NCHW", "ncnn"),
}


def make_artifact(
    folder: Path, *, file_format: str = "tflite", size: tuple[int, int] = SIZE, precision: Precision = "fp32"
) -> Artifact:
    """Write a whole artifact of the tiny net, golden sample included, and return it opened."""
    entry, write, layout, engine = FORMATS[file_format]
    (folder / "golden").mkdir(parents=True)
    write(folder / entry, size)
    cells = (size[0] // STRIDE, size[1] // STRIDE)
    shape = (1, len(CLASSES), *cells) if layout == "NCHW" else (1, *cells, len(CLASSES))
    image = TensorSpec(name="image", shape=(1, *size, 3), dtype="uint8", layout="NHWC", role="image")
    logits = TensorSpec(name="logits", shape=shape, dtype="float32", layout=layout, role="logits")
    spec = ModelSpec(
        name="tiny", architecture="tiny", classes=CLASSES, palette=PALETTE, ignore_index=255, inputs=(image,),
        outputs=(logits,), preprocess=Preprocess(), output_stride=STRIDE, weights_sha256="0" * 64, licence="Apache-2.0",
    )  # fmt: skip
    seal(folder, spec=spec, file_format=file_format, entry=entry, engine=engine, precision=precision,
         golden=_write_golden(folder, spec, engine))  # fmt: skip
    artifact = open_artifact(folder)
    remember(artifact, how="made")
    return artifact


def seal(folder: Path, *, spec: ModelSpec, file_format: str, entry: str, engine: str, precision: Precision,
         golden: Golden) -> None:  # fmt: skip
    """Write a manifest for whatever lies in `folder` now, as the convert verb does."""
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        name=f"tiny-{file_format}", created="2026-01-01T00:00:00+00:00", edgeseg_version="0.1.0",
        format=file_format, backend=ResolvedBackend(engine=engine), entry=entry, files=list_files(folder), spec=spec,
        preprocess=spec.preprocess, inputs=spec.inputs,
        outputs=spec.outputs, scheme=SCHEMES[precision], target=file_format,
        lineage=Lineage(checkpoint="tiny", weights_sha256="0" * 64), calibration=None, golden=golden,
        proof=Proof(level="engine", engine=engine),
        parity=Parity(engine=engine, images=1, sqnr_db=120.0, label_agreement=1.0, max_abs_error=0.0),
        report=ConversionReport(ops_total=2, ops_quantized=0, fallbacks=(), tool_versions={}, seconds=0.1,
                                peak_memory_mb=1.0),
        licence="Apache-2.0",
    )  # fmt: skip
    write_json(manifest.sealed(), folder / "manifest.json")


def reseal(folder: Path) -> None:
    """Seal a folder again after a file in it was changed on purpose; the result is not known here (`core.trust`)."""
    manifest = _read(folder)
    seal(folder, spec=manifest.spec, file_format=manifest.format, entry=manifest.entry, engine=manifest.engine,
         precision=manifest.scheme.name, golden=manifest.golden)  # fmt: skip


def _read(folder: Path) -> Manifest:
    from edgeseg.core.files import read_json_value
    from edgeseg.core.manifest_schema import migrated_manifest
    from edgeseg.core.records import decode_record

    return decode_record(Manifest, migrated_manifest(read_json_value(folder / "manifest.json")), where="manifest.json")


def _write_golden(folder: Path, spec: ModelSpec, engine: str) -> Golden:
    sample = image(spec.size)
    tensor = prepare(sample, preprocess=spec.preprocess, tensor=spec.inputs[0])
    logits = logits_of(tensor)
    plain = TensorSpec(name="logits", shape=logits.shape, dtype="float32", layout="NHWC", role="logits")
    labels = decode(logits, tensor=plain, preprocess=spec.preprocess, input_size=spec.size, size=spec.size)
    cv2.imwrite(str(folder / "golden" / "image.png"), sample)
    cv2.imwrite(str(folder / "golden" / "expected.png"), labels)
    cv2.imwrite(str(folder / "golden" / "reference.png"), labels)
    np.save(folder / "golden" / "output.npy", np.ascontiguousarray(_laid_out(logits, spec.outputs[0])))
    return Golden(
        image="golden/image.png", input_sha256=hashlib.sha256(tensor.tobytes()).hexdigest(),
        expected="golden/expected.png", reference="golden/reference.png", engine=engine, min_agreement=0.995,
        output="golden/output.npy", min_sqnr_db=50.0,
    )  # fmt: skip


def _laid_out(logits: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    return logits.transpose(0, 3, 1, 2) if tensor.layout == "NCHW" else logits
