"""Quantize our float artifacts with the vendors' own post-training quantizers, on given calibration images.

Usage: python benchmarks/peers/quantize.py FP32 --images DIR --out DIR
FP32 is a folder of float artifacts of one net: <name>-onnx-fp32, <name>-openvino-fp32, <name>-tflite-fp32. Writes one
model file a peer, and the spec.toml with which `edgeseg adopt` takes it, under the peer's name.
Peers that are not installed are named on
stderr and left out: NNCF (`pip install "edgeseg[nncf]"`), ONNX Runtime's static quantization, ai-edge-quantizer.
`edgeseg convert --calibrator native` makes artifacts with the same quantizers, and refuses those that lose too much.
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
    import numpy as np
    from numpy.typing import NDArray


def tensors(artifact: Artifact, images: list[Path]) -> list[NDArray[np.uint8]]:
    """Return the input tensors of images, as the artifact takes them."""
    manifest = artifact.manifest
    return [prepare(read_image(path), preprocess=manifest.preprocess, tensor=manifest.inputs[0]) for path in images]


def nncf_openvino(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write NNCF's int8 of an OpenVINO model with its default preset, and with the mixed one."""
    from edgeseg.converters.openvino.native import quantize_with_nncf

    data = tensors(artifact, images)
    quantize_with_nncf(artifact.entry, out / "nncf-default.xml", data)
    quantize_with_nncf(artifact.entry, out / "nncf-mixed.xml", data, preset="mixed")


def onnxruntime_static(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write ONNX Runtime's static QDQ quantization: uint8 activations, int8 weights for each channel, min-max."""
    from edgeseg.converters.onnx.native import quantize_statically

    quantize_statically(artifact.entry, out / "onnxruntime-static.onnx", tensors(artifact, images))


def ai_edge(artifact: Artifact, images: list[Path], out: Path) -> None:
    """Write ai-edge-quantizer's full-integer int8 (its static recipe) of a TFLite model."""
    from edgeseg.converters.tflite.native import quantize_with_ai_edge

    quantize_with_ai_edge(artifact.entry, out / "ai-edge-quantizer.tflite", tensors(artifact, images))


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
