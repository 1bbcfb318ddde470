"""The trained scales in every format's file, and that every engine answers as the fake-quantized net does."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from compress.artifact_scales import READERS
from compress.small_qat import LEARNED, Trained, trained
from contracts.deployable import images
from torch import nn

from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.core.artifact import Artifact, Lineage
from edgeseg.core.backend import ResolvedBackend
from edgeseg.deploy.manifest import draft
from edgeseg.deploy.plan import PlannedArtifact, converter_for
from edgeseg.deploy.prove import open_for_proof
from edgeseg.errors import MissingDependency
from edgeseg.export import export
from edgeseg.graph.float_graph import INNER
from edgeseg.graph.scale_limits import affine
from edgeseg.models import load_checkpoint
from edgeseg.pixels import decode
from edgeseg.train.evaluate import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from edgeseg.compress.quantize.fake_quant_net import QuantNet
    from edgeseg.core.exported import Conversion, ExportedModel

# Larger than what was trained on: ranges serve every size, and few cells would hide which borders move.
SIZE = (192, 256)
# Labels are compared where the trained net's first choice is ahead; a tie falls to either side by one step of rounding.
SURE_SHARE = 0.8
# Core ML computes and stores scales in float16.
LEAST_AGREEMENT = {"tflite": 0.99, "onnx": 0.99, "openvino": 0.99, "coreml": 0.985, "executorch": 0.99}
TOLERANCE = {"tflite": 1e-6, "onnx": 1e-6, "openvino": 1e-5, "coreml": 1e-3, "executorch": 1e-6}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def made() -> tuple[Trained, ExportedModel]:
    """Return a trained net and its int8 graph, once for all formats."""
    folder = Path(tempfile.mkdtemp(prefix="edgeseg-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.set_num_threads(1)
    given = trained(folder / "run")
    at_size = load_checkpoint(given.folder, size=SIZE)
    return given, export(at_size, precision="int8", ranges=given.ranges, folder=folder / "export")


@cache
def expected() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the labels (H, W) that the fake-quantized net gives, and where (H, W) bool it is surest of them."""
    given, model = made()
    net = quant_net(
        load_checkpoint(given.folder, size=SIZE).net, size=SIZE, ranges=given.ranges.ranges, recipe=LEARNED
    ).eval()
    found = []
    for tensor in images(model.spec, first=50, count=3):
        with torch.no_grad():
            x = normalise(torch.from_numpy(tensor).permute(0, 3, 1, 2), spec=model.spec)
            logits = net(x).permute(0, 2, 3, 1).numpy()
        rule = model.spec.preprocess
        labels = decode(logits, tensor=model.output, preprocess=rule, input_size=SIZE, size=SIZE)
        cells = torch.from_numpy(logits).permute(0, 3, 1, 2)
        best = torch.nn.functional.interpolate(cells, size=SIZE, mode="bilinear")[0].topk(2, dim=0).values
        lead = (best[0] - best[1]).numpy()
        found.append((labels, lead >= np.quantile(lead, 1 - SURE_SHARE)))
    return found


def answers(
    model: ExportedModel, conversion: Conversion, folder: Path, *, tensors: list[np.ndarray]
) -> list[np.ndarray]:
    """Return the labels (H, W) that the format's engine gives."""
    name = folder.name
    item = PlannedArtifact(
        target=name,
        format=name,
        backend=ResolvedBackend(engine=converter_for(name).engines[0]),
        precision="int8",
        path=folder,
        reason="test",
    )
    lineage = Lineage(checkpoint="small", weights_sha256="0" * 64)
    manifest = draft(item, conversion, spec=model.spec, lineage=lineage, calibration=None, temperature=None)
    with open_for_proof(Artifact(folder=folder, manifest=manifest)) as session:
        given = [session.infer(session.preprocess(np.ascontiguousarray(x[0, ..., ::-1]))) for x in tensors]
        return [session.decode(item, size=model.spec.size) for item in given]


def trained_scales(net: QuantNet) -> dict[str, Tensor]:
    """Return the scales (output channels,) of every int8 weight, by the weight's key in the plain net."""
    net.fit()
    return {
        wire.weight.removeprefix(f"{INNER}."): net._fake(wire).scales(net._stored(wire.weight)) for wire in net._wires
    }


@pytest.mark.parametrize("name", READERS)
def test_the_file_holds_the_trained_scales_and_its_engine_answers_as_the_trained_net(name: str, tmp_path: Path) -> None:
    converter = converter_for(name)
    try:
        converter.check()
    except MissingDependency as error:
        pytest.skip(str(error))
    given, model = made()
    folder = tmp_path / name
    folder.mkdir()
    conversion = converter.convert(model, folder=folder)
    assert conversion.scheme.mode == "qat"
    found, tolerance = READERS[name](folder), TOLERANCE[name]
    wanted = {item.name: affine(item.low, item.high) for item in given.ranges.ranges}
    missing = [point for point, (scale, zero) in wanted.items() if not found.has(scale, zero, tolerance=tolerance)]
    assert not missing, f"{len(missing)} of {len(wanted)}"
    weights = trained_scales(given.net)
    lost = [key for key, scales in weights.items() if not found.has_weight(scales.numpy(), tolerance=tolerance)]
    assert not lost, f"{len(lost)} of {len(weights)}"
    assert len(weights) == sum(isinstance(module, nn.Conv2d) for module in given.checkpoint.net.modules())
    tensors = images(model.spec, first=50, count=3)
    labels = answers(model, conversion, folder, tensors=tensors)
    agreement = [np.mean((mine == theirs)[sure]) for mine, (theirs, sure) in zip(labels, expected(), strict=True)]
    assert np.mean(agreement) >= LEAST_AGREEMENT[name], agreement
