"""People's nets from the command line alone: trained, pruned by 30 %, trained through int8, converted and proven."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from contracts.shapes import CLASSES, write_shapes

from edgeseg.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "contracts.own_nets"
RECIPE = """
schema = 1
name = "own"
model = "{model}"
[data]
train = "{data}"
[training]
optimizer = {{ name = "adamw", rate = 3e-3, weight_decay = 0.0 }}
schedule = {{ epochs = {epochs}, warmup_epochs = 0 }}
run = {{ batch = 4, ema = 0.5, evaluate_every = {epochs}, tensorboard = false }}
augment = {{ scale_min = 1.0, scale_max = 1.0 }}
[[stages]]
kind = "finetune"
[[stages]]
kind = "prune"
macs = 0.7
round_to = 4
[[stages]]
kind = "qat"
optimizer = {{ name = "adamw", rate = 1e-3 }}
schedule = {{ epochs = {steps}, warmup_epochs = 0 }}
run = {{ evaluate_every = {steps} }}
"""
SPEC = """
schema = 1
classes = {classes}
size = [64, 96]
[arguments]
{arguments}
"""


@dataclass(frozen=True, kw_only=True)
class Own:
    """A net by its factory in `own_nets`, its arguments and number of classes, and the stride that is left of it."""

    factory: str
    stride: int
    classes: int = 3
    arguments: str = ""


NETS = {
    "torchvision's LR-ASPP": Own(factory="LRASPP", stride=8),
    "transformers' SegFormer-B0": Own(factory="segformer", stride=4),
    "a U-Net with a ResNet-18": Own(
        factory="Unet", stride=1, arguments="width = 16\ndecoder_channels = [64, 48, 32, 24, 16]"
    ),
    "upsampled, softmax, argmax": Own(factory="Body", stride=4, arguments='end = "argmax"'),
    "one channel, sigmoid": Own(factory="Body", stride=4, classes=2, arguments='classes = 1\nend = "sigmoid"'),
    "a tuple": Own(factory="Body", stride=4, arguments='end = "tuple"'),
    "a dict": Own(factory="Body", stride=4, arguments='end = "dict"'),
}
FORMATS = ("tflite", "onnx", "openvino", "coreml")


def through(
    own: Own, folder: Path, *, epochs: int, steps: int, targets: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Compress and convert a net by two commands, and return what each printed as JSON."""
    data = write_shapes(folder / "shapes", classes=own.classes)
    (folder / "recipe.toml").write_text(
        RECIPE.format(model=f"{MODULE}:{own.factory}", data=data, epochs=epochs, steps=steps), encoding="utf-8"
    )
    names = json.dumps(CLASSES[: own.classes])
    (folder / "spec.toml").write_text(SPEC.format(classes=names, arguments=own.arguments), encoding="utf-8")
    words = ["compress", str(folder / "recipe.toml"), "--spec", str(folder / "spec.toml"), "--out", str(folder / "run")]
    assert main([*words, "--json"]) == 0
    compressed = json.loads(capsys.readouterr().out)
    words = ["convert", str(folder / "run" / "checkpoint"), "--precision", "int8", "--data", str(data)]
    words += [word for target in targets for word in ("--target", target)]
    assert main([*words, "--out", str(folder / "artifacts"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["artifacts"]
    return compressed, made


def check(own: Own, compressed: dict[str, object], made: list[dict[str, object]]) -> None:
    stages = {item["stage"]: item for item in compressed["stages"]}  # type: ignore[attr-defined]
    assert stages["prune"]["macs"] <= 0.7 * stages["finetune"]["macs"]
    assert stages["qat"]["macs"] == stages["prune"]["macs"]
    for item in made:
        assert item["proof"]["level"] == ("reference" if item["format"] == "coreml" else "engine")  # type: ignore[index]
        assert item["parity"]["label_agreement"] > 0.9, item["format"]  # type: ignore[index]
        assert item["report"]["ops_quantized"] > 0  # type: ignore[index]


def test_a_sigmoid_net_goes_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = NETS["one channel, sigmoid"]
    compressed, made = through(own, tmp_path, epochs=8, steps=2, targets=("onnx",), capsys=capsys)
    check(own, compressed, made)
    spec = json.loads((tmp_path / "run" / "checkpoint" / "spec.json").read_text(encoding="utf-8"))
    assert (spec["output_stride"], len(spec["classes"])) == (own.stride, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_net_goes_to_every_format(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = NETS[name]
    if own.factory == "segformer" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    compressed, made = through(own, tmp_path, epochs=12, steps=4, targets=FORMATS, capsys=capsys)
    assert [item["format"] for item in made] == list(FORMATS)
    check(own, compressed, made)
    spec = json.loads((tmp_path / "run" / "checkpoint" / "spec.json").read_text(encoding="utf-8"))
    assert spec["output_stride"] == own.stride
    shown = {str(item["format"]): round(item["parity"]["label_agreement"], 4) for item in made}  # type: ignore[index]
    with capsys.disabled():
        print(f"\n{name}: {shown}, MACs {[stage['macs'] for stage in compressed['stages']]}")  # type: ignore[attr-defined]
