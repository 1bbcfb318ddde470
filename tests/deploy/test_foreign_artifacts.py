"""Real foreign files go all the way: adopted by a starter spec, verified, run on a video, benchmarked and compared."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TFLITE = {
    "selfie_segmentation": 2,
    "mnv3_seg_float": None,  # the file says how many
    "deeplabv3_mnv2_ade20k_uint8": 151,
}
"""The classes of each foreign TFLite file."""


def all_the_way(file: Path, *, classes: int | None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Take a file through the command line: spec, adopt, verify, run, bench, compare."""
    from contracts.videos import write_video

    spec, artifact, results = folder / "spec.toml", folder / "artifact", folder / "results"
    assert main(["spec", str(file), "--out", str(spec)]) == 0
    if classes is not None:
        text = re.sub(r"(?m)^classes = .*$", f"classes = {classes}", spec.read_text(encoding="utf-8"), count=1)
        spec.write_text(text, encoding="utf-8")
    assert main(["adopt", str(file), "--spec", str(spec), "--out", str(artifact)]) == 0
    assert main(["verify", str(artifact), "--threads", "1"]) == 0
    capsys.readouterr()
    video = write_video(folder / "clip.mp4", frames=5)
    words = ["run", str(artifact), "--source", str(video), "--headless", "--threads", "1", "--json"]
    assert main([*words, "--save-labels", str(folder / "labels")]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 5
    assert len(list((folder / "labels").glob("*.png"))) == 5
    bench = ["bench", str(artifact), "--runs", "3", "--warmup", "1", "--threads", "1"]
    assert main([*bench, "--out", str(results)]) == 0
    assert main(["compare", str(results), "--json"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TFLITE)
def test_a_foreign_tflite_file_goes_all_the_way(
    name: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_data / "weights" / f"{name}.tflite"
    if not file.is_file():
        pytest.skip(f"EDGESEG_TEST_DATA has no {name}.tflite")
    all_the_way(file, classes=TFLITE[name], folder=tmp_path, capsys=capsys)


def write_openvino(path: Path) -> Path:
    tiny.FORMATS["openvino"][1](path.with_suffix(".xml"), tiny.SIZE)
    return path.with_suffix(".xml")


def write_segformer(path: Path) -> Path:
    import torch
    from contracts.own_nets import segformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = segformer().eval()
        torch.onnx.export(net, (torch.zeros(1, 3, 64, 96),), path.with_suffix(".onnx"), dynamo=True, verbose=False)
    return path.with_suffix(".onnx")


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_openvino, write_segformer])
def test_a_foreign_file_of_another_format_goes_all_the_way(
    write: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if write is write_segformer and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    all_the_way(write(tmp_path / "theirs"), classes=None, folder=tmp_path, capsys=capsys)
