"""Quantize our float artifacts with the vendors' own post-training quantizers, on given calibration images.

Usage: python benchmarks/peers/quantize.py FP32 --images DIR --out DIR
FP32 is a folder of float artifacts of one net: <name>-onnx-fp32, <name>-openvino-fp32, <name>-tflite-fp32. Writes one
model file a peer, and the spec.toml with which `edgeseg adopt` takes it, under the peer's name.
Peers that are not installed are named on
stderr and left out: NNCF (`pip install nncf`), ONNX Runtime's static quantization, ai-edge-quantizer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.data.reading import read_image
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


def tensors(artifact: Artifact, images: list[Path]) -> list[NDArray[np.uint8]]:
    """Return the input tensors of images, as the artifact takes them."""
    manifest = artifact.manifest
    return [prepare(read_image(path), preprocess=manifest.preprocess, tensor=manifest.inputs[0]) for path in images]


def nncf_openvino(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write NNCF's int8 of an OpenVINO model with its default preset, and with the mixed one."""
    import nncf
    import openvino as ov

    core = ov.Core()
    data = tensors(artifact, images)
    for name, preset in (
        ("nncf-default", nncf.QuantizationPreset.PERFORMANCE),
        ("nncf-mixed", nncf.QuantizationPreset.MIXED),
    ):
        model = core.read_model(artifact.entry)
        quantized = nncf.quantize(model, nncf.Dataset(data), preset=preset, subset_size=len(data))
        ov.save_model(quantized, out / f"{name}.xml", compress_to_fp16=False)


def onnxruntime_static(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write ONNX Runtime's static QDQ quantization: uint8 activations, int8 weights for each channel, min-max."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._data: Iterator[NDArray[np.uint8]] = iter(tensors(artifact, images))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            tensor = next(self._data, None)
            return None if tensor is None else {name: tensor}

    name = onnx.load(artifact.entry).graph.input[0].name
    prepared = out / "prepared.onnx"
    quant_pre_process(str(artifact.entry), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(out / "onnxruntime-static.onnx"),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    prepared.unlink()


def ai_edge(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write ai-edge-quantizer's full-integer int8 (its static recipe) of a TFLite model."""
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.utils import tfl_interpreter_utils

    interpreter = tfl_interpreter_utils.create_tfl_interpreter(str(artifact.entry))
    signature, runner = next(iter(interpreter.get_signature_list().items()))
    name = runner["inputs"][0]
    maker = quantizer.Quantizer(str(artifact.entry), recipe.static_wi8_ai8())
    ranges = maker.calibrate({signature: [{name: tensor} for tensor in tensors(artifact, images)]})
    maker.quantize(ranges).export_model(str(out / "ai-edge-quantizer.tflite"), overwrite=True)


PEERS = (
    ("openvino", "nncf", nncf_openvino),
    ("onnx", "onnxruntime", onnxruntime_static),
    ("tflite", "ai_edge_quantizer", ai_edge),
)


def spec_text(artifact: Artifact, *, name: str) -> str:
    """Return a spec.toml for a file whose input is the artifact's: bytes, normalised in the graph."""
    manifest, spec = artifact.manifest, artifact.manifest.spec
    return (
        f"schema = 1\nname = {json.dumps(name)}\nclasses = {json.dumps(list(spec.classes))}\n"
        f"size = [{spec.size[0]}, {spec.size[1]}]\nignore_index = {spec.ignore_index}\n"
        f"licence = {json.dumps(manifest.licence)}\n\n[preprocess]\n"
        f'color_order = "{manifest.preprocess.color_order}"\nresize = "{manifest.preprocess.resize}"\n'
    )


def main() -> None:
    """Quantize with every peer that is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floats", metavar="FP32", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="folder of calibration images, all of them used")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    images = sorted(path for path in options.images.iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    options.out.mkdir(parents=True, exist_ok=True)
    for file_format, module, work in PEERS:
        if importlib.util.find_spec(module) is None:
            print(f"{module} is not installed: left out", file=sys.stderr)
            continue
        (folder,) = options.floats.glob(f"*-{file_format}-fp32")
        artifact = open_artifact(folder)
        before = set(options.out.iterdir())
        work(artifact, images, options.out)
        for name in {path.stem for path in set(options.out.iterdir()) - before}:
            (options.out / f"{name}.toml").write_text(spec_text(artifact, name=name), encoding="utf-8")


if __name__ == "__main__":
    main()
