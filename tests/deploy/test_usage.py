"""USAGE.md's code runs as it stands and gives the labels that edgeseg gives, at the image's own size."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.protocols import DescribedConverter
from edgeseg.core.spec import Preprocess
from edgeseg.deploy.plan import converter_for
from edgeseg.deploy.usage import usage
from edgeseg.runtime import load

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = {"tflite": "ai_edge_litert.interpreter", "onnx": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn"}


@pytest.mark.parametrize("file_format", ENGINES)
def test_the_snippet_gives_our_labels(file_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(ENGINES[file_format])
    artifact = tiny.make_artifact(tmp_path / "a", file_format=file_format)
    converter = converter_for(file_format)
    assert isinstance(converter, DescribedConverter)
    text = usage(artifact.manifest, snippet=converter.usage)
    assert "0 sky, 1 building, 2 road, 3 tree" in text
    assert "Resize the image to 64 rows and 96 columns" in text
    code = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "usage.py").write_text(code, encoding="utf-8")
    picture = tiny.image((150, 200), seed=9)
    cv2.imwrite(str(tmp_path / "image.png"), picture)
    monkeypatch.setattr(sys, "argv", ["usage.py", str(tmp_path / "image.png")])
    monkeypatch.chdir(artifact.folder)
    runpy.run_path(str(tmp_path / "usage.py"))
    labels = cv2.imread("labels.png", cv2.IMREAD_UNCHANGED)
    for name in ("labels.png", "colours.png"):
        (artifact.folder / name).unlink()
    with load(artifact.folder, threads=1) as session:
        ours = session.segment(picture)
    assert np.mean(labels == ours) >= 0.999


def test_area_is_for_shrinking_alone_as_in_the_runtime(tmp_path: Path) -> None:
    manifest = tiny.make_artifact(tmp_path / "a").manifest
    high = manifest.inputs[0].size[0]
    for resize, rows in (("stretch", str(high)), ("letterbox", "inner[0]")):
        host = Preprocess(resize=resize, interpolation="area")  # type: ignore[arg-type]
        text = usage(dataclasses.replace(manifest, preprocess=host), snippet="output = tensor")
        assert f"interpolation=cv2.INTER_AREA if {rows} < image.shape[0] else cv2.INTER_LINEAR)" in text


def test_the_page_says_letterbox_normalisation_and_quantization(tmp_path: Path) -> None:
    manifest = tiny.make_artifact(tmp_path / "a").manifest
    host = Preprocess(resize="letterbox", color_order="bgr", in_graph=False)
    quantized = dataclasses.replace(manifest.outputs[0], dtype="int8", scale=0.25, zero_point=-3)
    text = usage(dataclasses.replace(manifest, preprocess=host, outputs=(quantized,)), snippet="output = tensor")
    for words in ("pad it with grey 114", "blue, green, red", "(pixel * 0.0039", "scale 0.25, zero point -3"):
        assert words in text
    compile(text.partition("```python\n")[2].partition("```")[0], "usage", "exec")
