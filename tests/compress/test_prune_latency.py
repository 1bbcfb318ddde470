"""Time budgets follow the table, and the table follows the engine's files."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from compress.small_teacher import small_teacher
from compress.test_prune import trained

from edgeseg.analyze.latency_table import _grid, latency_table, time_net
from edgeseg.analyze.single_layer_models import LayerFiles
from edgeseg.bench.layer_timing import time_layer
from edgeseg.compress.pipeline.recipe import parse_pipeline
from edgeseg.compress.pipeline.run import run_pipeline
from edgeseg.compress.pipeline.stage import LatencyProbe
from edgeseg.compress.prune import pruner
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.latency_model import LatencyModel
from edgeseg.compress.prune.pruner import prune, save
from edgeseg.core.files import read_json
from edgeseg.core.latency import LatencyTable, LayerShape, LayerTime
from edgeseg.data import open_dataset
from edgeseg.errors import InputError, UnknownName
from edgeseg.graph.layer_shapes import layer_shapes
from edgeseg.models import Checkpoint, load_checkpoint
from edgeseg.models.lineage import read_lineage
from edgeseg.verbs.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONV = LayerShape(
    inputs=16, outputs=24, kernel=(3, 3), stride=(2, 2), dilation=(1, 1), groups=1, cells=(16, 24), activation="ReLU"
)
DEPTHWISE = dataclasses.replace(CONV, outputs=16, groups=16, stride=(1, 1), activation="Hardswish")


@pytest.fixture(scope="module")
def scnn(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained") / "c", "fast_scnn")


def invented(checkpoint: Checkpoint, *, expensive: str) -> LatencyTable:
    """Return a table where a layer costs its MACs, and the layers that are like `expensive` a hundred times more."""
    shapes = layer_shapes(checkpoint.net, size=checkpoint.spec.size)
    dear = dataclasses.replace(shapes[expensive], inputs=0, outputs=0, groups=0)
    times = []
    for shape in _grid(shapes, (1.0, 0.5, 0.25)):
        factor = 100 if dataclasses.replace(shape, inputs=0, outputs=0, groups=0) == dear else 1
        times.append(LayerTime(shape=shape, ms=factor * shape.macs / 1e6))
    return LatencyTable(engine="invented", threads=1, machine="here", times=tuple(times))


def test_times_lie_between_measured_widths() -> None:
    def at(inputs: int, outputs: int, ms: float) -> LayerTime:
        return LayerTime(shape=dataclasses.replace(CONV, inputs=inputs, outputs=outputs), ms=ms)

    times = (at(8, 8, 1.0), at(8, 24, 2.0), at(16, 8, 3.0), at(16, 24, 6.0))
    model = LatencyModel(LatencyTable(engine="e", threads=1, machine="m", times=times))
    assert model.layer_ms(dataclasses.replace(CONV, inputs=12, outputs=16)) == pytest.approx(3.0)
    assert model.layer_ms(CONV) == 6.0
    with pytest.raises(InputError, match="no layer of kernel"):
        model.layer_ms(dataclasses.replace(CONV, cells=(8, 8)))


def test_what_costs_time_goes_first(scnn: Checkpoint) -> None:
    plain = prune(scnn, budget=Budget(macs=0.8), latency_weight=1.0)
    steered = prune(
        scnn, budget=Budget(macs=0.8), table=invented(scnn, expensive="downsample.1.1.0"), latency_weight=1.0
    )

    def left(pruned, name):  # type: ignore[no-untyped-def]
        return next(group.after for group in pruned.groups if group.name == name)

    assert left(steered, "downsample.2.0.0") < left(plain, "downsample.2.0.0")


def summed_ms(model: LatencyModel, checkpoint: Checkpoint) -> float:
    return sum(map(model.layer_ms, layer_shapes(checkpoint.net, size=checkpoint.spec.size).values()))


def test_a_time_budget_is_met_as_measured(scnn: Checkpoint) -> None:
    """The whole net takes 3 ms more than its layers, and a fifth of them again: only measuring tells."""
    table = invented(scnn, expensive="downsample.0.0")
    model = LatencyModel(table)

    def measure(checkpoint: Checkpoint) -> float:
        return 3.0 + 1.2 * summed_ms(model, checkpoint)

    whole = measure(scnn)
    pruned = prune(scnn, budget=Budget(ms=0.6 * whole), table=table, measure=measure)
    assert pruned.before_ms == whole
    assert pruned.after_ms is not None
    assert 0.5 * whole < pruned.after_ms <= 0.6 * whole


def test_a_measurement_that_was_off_does_not_lose_a_net_that_met_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    def to(limit: float) -> tuple[None, float]:
        if limit < 2:
            raise InputError(f"The budget is {limit:g}, but what every layer must keep costs 2.")
        return None, limit

    def timed(_net: None, measure: Callable[[None], float], *, before_ms: float) -> SimpleNamespace:
        assert before_ms == 10
        return SimpleNamespace(after_ms=measure(None), after=SimpleNamespace(macs=1))

    monkeypatch.setattr(pruner, "_timed", timed)
    settings = SimpleNamespace(budget=Budget(ms=6.0))
    cut = SimpleNamespace(settings=settings, checkpoint=None, whole=lambda: 10.0, to=to)
    times = iter([10.0, 5.0, 500.0])  # met but not near enough, then another program took the CPU
    assert pruner._to_time(cut, measure=lambda _net: next(times)).after_ms == 5  # type: ignore[arg-type]
    never = iter([10.0, 500.0])
    with pytest.raises(InputError, match="The budget is"):
        pruner._to_time(cut, measure=lambda _net: next(never))  # type: ignore[arg-type]


def test_what_a_stage_with_a_time_budget_measured_reaches_the_lineage(tmp_path: Path) -> None:
    classes = open_dataset("streets:4", split="train").classes
    start = small_teacher(tmp_path / "start", classes=classes, name="fast_scnn")
    whole = load_checkpoint(start)
    table = invented(whole, expensive="downsample.0.0")

    def net_ms(checkpoint: Checkpoint, engine: str, threads: int) -> float:
        assert (engine, threads) == ("invented", 1)
        return summed_ms(LatencyModel(table), checkpoint)

    before_ms = net_ms(whole, "invented", 1)
    recipe = {
        "schema": 1,
        "name": "small",
        "model": str(start),
        "data": {"train": "streets:4"},
        "calibration": {"count": 2},
        "stages": [{"kind": "prune", "ms": 0.6 * before_ms, "engine": "invented", "images": 4}],
    }
    probe = LatencyProbe(table=lambda *_: table, net=net_ms)
    done = run_pipeline(parse_pipeline(recipe, where="r.toml"), out=tmp_path / "run", command="test", probe=probe)
    metrics = read_lineage(done.checkpoint)[-1].metrics
    assert metrics["ms_before"] == before_ms
    assert 0.5 * before_ms < metrics["ms"] <= 0.6 * before_ms


@pytest.mark.parametrize(("engine", "module"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
@pytest.mark.parametrize("shape", [CONV, DEPTHWISE], ids=["conv", "depthwise"])
def test_single_layers_run_on_their_engine(engine: str, module: str, shape: LayerShape, tmp_path: Path) -> None:
    pytest.importorskip(module)
    path, image = LayerFiles(tmp_path, file_format="onnx").write(shape)
    assert image.shape == (1, 16, 16, 24)
    assert 0 < time_layer(path, engine=engine, threads=1, image=image, runs=2) < 1000


def test_one_lowered_layer_serves_all_widths(tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    pytest.importorskip("litert_torch")
    files = LayerFiles(tmp_path, file_format="tflite")
    for inputs, outputs in ((16, 24), (8, 40)):
        path, image = files.write(dataclasses.replace(CONV, inputs=inputs, outputs=outputs))
        runner = interpreter.Interpreter(model_path=str(path), num_threads=1)
        runner.allocate_tensors()
        assert tuple(runner.get_input_details()[0]["shape"]) == image.shape == (1, 16, 24, inputs)
        assert tuple(runner.get_output_details()[0]["shape"]) == (1, 8, 12, outputs)
        assert time_layer(path, engine="litert", threads=1, image=image, runs=2) > 0


def test_a_table_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
    made = _Bare(net=net, spec=_Size(size=(16, 16)))
    cache = tmp_path / "table.json"
    first = latency_table(made, engine="onnxruntime", runs=2, shares=(1.0, 0.5), cache=cache)  # type: ignore[arg-type]
    assert read_json(LatencyTable, cache) == first
    assert len(first.times) == 4 + 4
    told: list[int] = []
    again = latency_table(
        made,  # type: ignore[arg-type]
        engine="onnxruntime",
        runs=2,
        shares=(1.0, 0.5, 0.25),
        cache=cache,
        on_progress=lambda _what, _done, total: told.append(total),
    )
    assert again.times[: len(first.times)] == first.times
    assert told[-1] == len(again.times) - len(first.times) > 0
    with pytest.raises(InputError, match="Give another file"):
        latency_table(made, engine="onnxruntime", threads=2, cache=cache)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="onnxruntime"):
        latency_table(made, engine="onnxruntim")  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class _Size:
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Bare:
    net: torch.nn.Module
    spec: _Size


def test_numbers_are_float32(tmp_path: Path) -> None:
    _, image = LayerFiles(tmp_path, file_format="onnx").write(CONV)
    assert image.dtype == np.float32


def test_pruned_nets_convert_with_float_parity(scnn: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    save(prune(scnn, budget=Budget(macs=0.5)), tmp_path / "p")
    (artifact,) = convert(str(tmp_path / "p"), target="onnx", precision="fp32", out=tmp_path / "a")
    assert artifact.manifest.parity.label_agreement >= 0.999
    assert [step.stage for step in artifact.manifest.lineage.steps] == ["prune"]
    made = load_checkpoint(tmp_path / "p")
    assert time_net(made, engine="onnxruntime", runs=2) > 0
