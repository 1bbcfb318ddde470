"""What an `.mlpackage` holds and computes, judged by the reference evaluator against the exported PyTorch program."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from contracts.deployable import without_repeats

from edgeseg.converters.coreml import CONVERTER
from edgeseg.converters.coreml.lowering import _give_strides
from edgeseg.core import requirements
from edgeseg.core.exported import Conversion, ExportedModel
from edgeseg.core.protocols import Converter
from edgeseg.core.quantization import CalibrationSet, Precision, Ranges
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.errors import MissingDependency, UnsupportedError
from edgeseg.export import export
from edgeseg.export.export import deploy, export_program
from edgeseg.export.observing import observe_points
from edgeseg.graph.quantization_points import plan_quantization
from edgeseg.models import build
from edgeseg.models.checkpoint import Checkpoint
from edgeseg.pixels import prepare
from edgeseg.runtime.engines.mil.package import Package, open_package
from edgeseg.runtime.engines.mil.program import read_program

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (64, 96)
CLASSES = ("road", "sky", "car")
RANDOM = np.random.default_rng(5)
IMAGES = [RANDOM.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8) for _ in range(2)]
NETS = ("fast_scnn", "lraspp_mobilenet_v3_small")


def checkpoint(name: str) -> Checkpoint:
    torch.manual_seed(1)
    net = build(name, classes=len(CLASSES), size=SIZE)
    pixels = TensorSpec(name="pixels", shape=(1, 3, *SIZE), dtype="float32", layout="NCHW", role="image")
    spec = ModelSpec(
        name="small", architecture=name, classes=CLASSES, palette=((9, 9, 9), (0, 0, 200), (200, 0, 0)),
        ignore_index=255, inputs=(pixels,), outputs=(), preprocess=Preprocess(), output_stride=8,
        weights_sha256="0" * 64, licence="CC-BY-4.0", notice="Name the authors.",
    )  # fmt: skip
    return Checkpoint(spec=without_repeats(net, spec), net=net.eval(), folder=Path())


def ranges(made: Checkpoint) -> Ranges:
    graph = export_program(deploy(made, spec=made.spec, output="logits"), spec=made.spec).module()
    observed = observe_points(graph, lambda: iter(IMAGES), plan=plan_quantization(graph))
    source = CalibrationSet(
        source="noise", split="train", item_ids=(), selection="all", seed=0, class_pixels=(), preprocess_sha256="",
        sha256="",
    )  # fmt: skip
    return Ranges(weights_sha256="0" * 64, observer="test", ranges=observed, calibration=source)


Made = tuple[ExportedModel, Conversion, Package]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    known: dict[tuple[str, str, str], Made] = {}

    def made(precision: Precision, name: str = "fast_scnn", output: str = "logits") -> Made:
        if (precision, name, output) not in known:
            folder = tmp_path_factory.mktemp("coreml")
            source = checkpoint(name)
            exported = export(
                source, precision=precision, output=output, ranges=ranges(source) if precision == "int8" else None,
                folder=folder,
            )  # type: ignore[arg-type]  # fmt: skip
            conversion = CONVERTER.convert(exported, folder=folder)
            known[precision, name, output] = (exported, conversion, open_package(folder / conversion.entry))
        return known[precision, name, output]

    return made


def answers(made: Made, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the exported program and what the package give for an image (1, H, W, 3), channels first."""
    exported, _, package = made
    with torch.no_grad():
        wanted = exported.folded_program().module()(torch.from_numpy(image)).numpy()
    got = read_program(package).evaluate(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    return (wanted.transpose(0, 3, 1, 2) if wanted.ndim == 4 else wanted), got


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    noise = np.square(wanted.astype(np.float64) - got).sum()
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-300)))


def kinds(package: Package) -> Counter[str]:
    function = package.function
    return Counter(op.type for op in function.block_specializations[function.opset].operations)


def test_is_a_converter_that_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(CONVERTER, Converter)
    CONVERTER.check()
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r'coremltools .* pip install "edgeseg\[coreml\]"'):
        CONVERTER.check()


@pytest.mark.parametrize("name", NETS)
def test_float_package_computes_what_torch_does(make: Callable[..., Made], name: str) -> None:
    wanted, got = answers(make("fp32", name), IMAGES[0])
    assert wanted.shape == got.shape == (1, len(CLASSES), 8, 12)
    assert sqnr_db(wanted, got) > 100


def test_half_package_is_as_near_as_a_half_torch_net(make: Callable[..., Made]) -> None:
    wanted, got = answers(make("fp16"), IMAGES[0])
    source = checkpoint("fast_scnn")
    deployed = deploy(source, spec=source.spec, output="logits")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (Preprocess().mean, Preprocess().std))
    pixels = torch.from_numpy(IMAGES[0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        halved = copy.deepcopy(deployed.net).half()(((pixels - mean) / std).half()).float().numpy()
    assert abs(sqnr_db(wanted, got) - sqnr_db(wanted, halved)) < 4
    assert sqnr_db(wanted, got) < 80  # rounding took place


@pytest.mark.parametrize("name", NETS)
def test_int8_package_holds_pairs_and_int8_weights(make: Callable[..., Made], name: str) -> None:
    exported, conversion, package = make("int8", name)
    found = kinds(package)
    assert found["constexpr_affine_dequantize"] == found["conv"]
    assert found["quantize"] >= found["conv"] / 2
    assert found["dequantize"] >= found["quantize"]
    assert conversion.report.ops_quantized > conversion.report.ops_total / 2
    assert all(fallback.reason for fallback in conversion.report.fallbacks)
    assert not [item for item in conversion.report.fallbacks if item.op == "conv"]
    assert conversion.scheme.mode == "static-range"
    assert "mul" in conversion.scheme.float_layers  # the normalisation
    wanted, got = answers((exported, conversion, package), IMAGES[0])
    assert sqnr_db(wanted, got) > 15
    stored = sum(file.stat().st_size for file in package.folder.rglob("weight.bin"))
    assert stored < 0.4 * sum(file.stat().st_size for file in make("fp32", name)[2].folder.rglob("weight.bin"))


def test_takes_an_image_and_gives_channels_first_without_permuting(make: Callable[..., Made]) -> None:
    _, conversion, package = make("fp16")
    image = package.spec.description.input[0]
    assert image.type.WhichOneof("Type") == "imageType"
    assert (image.type.imageType.height, image.type.imageType.width) == SIZE
    assert image.name == conversion.input.name == "image"
    assert (conversion.input.shape, conversion.input.dtype, conversion.input.layout) == ((1, 3, *SIZE), "uint8", "NCHW")
    assert (conversion.output.shape, conversion.output.layout) == ((1, 3, 8, 12), "NCHW")
    assert package.spec.description.output[0].name == conversion.output.name
    assert not kinds(package)["transpose"]
    assert conversion.report.ops_quantized == 0


def test_describes_the_model_to_an_app(make: Callable[..., Made]) -> None:
    about = make("fp16")[2].spec.description.metadata
    assert about.author == "edgeseg"
    assert about.license == "CC-BY-4.0"
    assert about.versionString
    assert about.userDefined["classes"] == "road,sky,car"
    assert about.userDefined["notice"] == "Name the authors."


def test_labels_come_as_int32(make: Callable[..., Made]) -> None:
    made = make("fp32", output="labels")
    wanted, got = answers(made, IMAGES[1])
    assert got.dtype == np.int32
    assert made[1].output.dtype == "int32"
    assert (wanted == got).mean() > 0.99


def test_leaves_the_exported_program_alone_and_says_nothing(
    make: Callable[..., Made], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exported = make("fp32")[0]
    capfd.readouterr()
    CONVERTER.convert(exported, folder=tmp_path)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    with torch.no_grad():
        tensor = prepare(exported.golden_image(), preprocess=exported.preprocess, tensor=exported.input)
        again = exported.program().module()(torch.from_numpy(tensor))
    np.testing.assert_allclose(again.numpy(), exported.golden_output(), rtol=1e-4, atol=1e-4)


def test_refuses_an_input_that_is_no_image(make: Callable[..., Made], tmp_path: Path) -> None:
    import dataclasses

    exported = make("fp32")[0]
    numbers = dataclasses.replace(exported.input, dtype="float32")
    with pytest.raises(UnsupportedError, match="8-bit image"):
        CONVERTER.convert(dataclasses.replace(exported, input=numbers), folder=tmp_path)


def test_one_changed_weight_is_noticed(make: Callable[..., Made], tmp_path: Path) -> None:
    import shutil

    exported, conversion, package = make("fp32")
    shutil.copytree(package.folder.parents[1], tmp_path / "model.mlpackage")
    (weights,) = (tmp_path / "model.mlpackage").rglob("weight.bin")
    data = bytearray(weights.read_bytes())
    place = (len(data) * 3 // 4) // 4 * 4
    data[place : place + 4] = (np.frombuffer(data, np.float32, 1, place) + 1).tobytes()
    weights.write_bytes(bytes(data))
    altered = open_package(tmp_path / "model.mlpackage")
    wanted, got = answers((exported, conversion, altered), IMAGES[0])
    assert sqnr_db(wanted, got) < 80


def test_what_differs_between_equal_conversions_is_taken_out(tmp_path: Path) -> None:
    import json
    import uuid

    from coremltools.proto import Model_pb2

    from edgeseg.converters.coreml.canonical import make_reproducible

    found = []
    for date in ("2026-01-01", "2026-01-02"):
        package = tmp_path / date / "model.mlpackage"
        inner = package / "Data" / "com.apple.CoreML"
        inner.mkdir(parents=True)
        spec = Model_pb2.Model()
        spec.specificationVersion = 8
        spec.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"] = date
        for key in ("classes", "palette", "notice")[:: 1 if date.endswith("1") else -1]:
            spec.description.metadata.userDefined[key] = key
        (inner / "model.mlmodel").write_bytes(spec.SerializeToString())
        root, weights = str(uuid.uuid4()), str(uuid.uuid4())
        entries = {
            root: {"name": "model.mlmodel", "path": "com.apple.CoreML/model.mlmodel"},
            weights: {"name": "weights", "path": "com.apple.CoreML/weights"},
        }
        table = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": root}
        (package / "Manifest.json").write_text(json.dumps(table))
        make_reproducible(package)
        found.append([(package / "Manifest.json").read_bytes(), (inner / "model.mlmodel").read_bytes()])
        stored = Model_pb2.Model.FromString(found[-1][1])
        assert set(stored.description.metadata.userDefined) == {"classes", "palette", "notice"}
    assert found[0] == found[1]


def test_a_pooling_whose_stride_is_its_default_gets_it_written_out() -> None:
    class Pools(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(torch.nn.functional.max_pool2d(x, 2), 3)

    program = torch.export.export(Pools(), (torch.zeros(1, 3, 24, 24),))
    graph = program.graph_module.graph
    _give_strides(graph)
    assert [node.args[1:3] for node in graph.nodes if "pool" in str(node.target)] == [
        ([2, 2], [2, 2]),
        ([3, 3], [3, 3]),
    ]
    program.graph_module.recompile()
    assert program.module()(torch.zeros(1, 3, 24, 24)).shape == (1, 3, 4, 4)
