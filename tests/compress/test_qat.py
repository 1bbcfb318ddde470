"""Quantization-aware training: its gradients, what it keeps, and that it goes on bit for bit."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from compress.small_qat import LEARNED, Trained, short_run, trained
from contracts.deployable import deployable, images, ranges, trained_folder
from torch import Tensor

from edgeseg.compress.quantize.fake_quant import AverageRange, FakeActivation, LearnedRange
from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.qat import Qat
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.unfold import unfolded
from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import Ranges
from edgeseg.errors import CheckpointError, InputError, TrainingError, UnknownName
from edgeseg.export.export import deploy, export_program
from edgeseg.export.quantizing import quantize_program
from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import ANY, plan_quantization
from edgeseg.graph.scale_limits import affine
from edgeseg.models import build
from edgeseg.train import train
from edgeseg.train.evaluate import normalise
from edgeseg.train.optimizer import make_optimizer
from edgeseg.train.state import STATE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("qat_worker.py")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One run from start to end."""
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("qat") / "run")


def settled(point: FakeActivation) -> FakeActivation:
    low, high = point.ends()
    point.scale, point.zero_point = affine(float(low.detach()), float(high.detach()))
    return point


def by_the_papers(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """LSQ and LSQ+ written out, with straight-through rounding left to autograd."""

    def rounded(value: Tensor) -> Tensor:
        return value + (value.round() - value).detach()

    scale = (high - low) / 255
    zero = rounded(-128 - low / scale)
    return (torch.clamp(rounded(x / scale) + zero, -128, 127) - zero) * scale


def test_learned_ranges_have_the_gradients_of_lsq() -> None:
    torch.manual_seed(0)
    point = settled(LearnedRange(low=-1.3, high=2.1, rate=1.0))
    x = (torch.randn(2, 3, 8, 8) * 1.5).requires_grad_()
    weights = torch.randn(2, 3, 8, 8)
    (point(x) * weights).sum().backward()
    mine = [x.grad, point.stretch.grad]  # type: ignore[union-attr]
    x.grad = None
    stretch = torch.zeros(2, requires_grad=True)
    low, high = (stretch.exp() * torch.tensor([-1.3, 2.1])).unbind()
    wanted = by_the_papers(x, low, high)
    assert torch.allclose(point(x), wanted, atol=1e-6)
    (wanted * weights).sum().backward()
    assert torch.allclose(mine[0], x.grad)
    assert torch.allclose(mine[1], stretch.grad, rtol=1e-4)


def test_a_range_that_starts_at_zero_stays_there_and_keeps_zero_exact() -> None:
    point = settled(LearnedRange(low=0.0, high=3.0, rate=1.0))
    x = torch.rand(1, 2, 4, 4) * 4
    point(x).sum().backward()
    assert point.stretch.grad[0] == 0  # type: ignore[union-attr,index]
    assert point(torch.zeros(1)).item() == 0
    assert point.zero_point == -128


def test_average_ranges_follow_the_batches_in_training_until_frozen() -> None:
    point = settled(AverageRange(low=-1.0, high=1.0, rate=0.5, span=ANY))
    x = torch.tensor([-3.0, 5.0]).reshape(1, 1, 1, 2)
    point(x)
    assert [float(item) for item in point.ends()] == [-2.0, 3.0]
    point.frozen = True
    point(x)
    point.frozen = False
    point.eval()
    point(x)
    assert [float(item) for item in point.ends()] == [-2.0, 3.0]


@pytest.mark.parametrize("mode", ["learned", "ema"])
def test_the_range_of_the_logits_follows_when_training_lets_them_grow(mode: Literal["learned", "ema"]) -> None:
    """Learned ranges move by a step of the learning rate; logits that grow in a few steps would be cut off."""
    checkpoint = deployable()
    observed = ranges(checkpoint).ranges
    net = quant_net(checkpoint.net, size=(64, 96), ranges=observed, recipe=QatRecipe(mode=mode))
    last = plan_quantization(float_graph(checkpoint.net, size=(64, 96))).points[-1].name
    low, high = net.ranges()[last]
    weights = dict(net.graph.named_parameters())
    head = [name for name, weight in weights.items() if weight.ndim == 4 and "classifier" in name][-1]
    x = torch.cat([normalise(torch.from_numpy(item).permute(0, 3, 1, 2), spec=checkpoint.spec)
                   for item in images(checkpoint.spec, count=2)])  # fmt: skip
    with torch.no_grad():
        weights[head].mul_(20.0)
        net.train()
        net(x)
    wider_low, wider_high = net.ranges()[last]
    assert wider_high - wider_low > 2.0 * (high - low)


def test_folded_weights_written_back_fold_to_the_same_bits() -> None:
    checkpoint = deployable("lraspp_mobilenet_v3_small")
    weights = fold_batch_norms(checkpoint.net, size=(64, 96)).state_dict()
    plain = build("lraspp_mobilenet_v3_small", classes=11, size=(64, 96))
    again = fold_batch_norms(unfolded(plain, weights, size=(64, 96)), size=(64, 96)).state_dict()
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    with pytest.raises(CheckpointError, match="does not fit"):
        unfolded(build("lraspp_mobilenet_v3_small", classes=5, size=(64, 96)), weights, size=(64, 96))


@pytest.mark.parametrize("float_layers", [(), ("net.features", "net.fusion")])
def test_it_computes_what_the_int8_graph_computes(float_layers: tuple[str, ...]) -> None:
    checkpoint = deployable()
    observed = ranges(checkpoint).ranges
    settings = QatRecipe(float_layers=float_layers)
    net = quant_net(checkpoint.net, size=(64, 96), ranges=observed, recipe=settings).eval()
    program = export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec)
    graph = quantize_program(program, ranges=observed, float_layers=float_layers).program.module()
    for tensor in images(checkpoint.spec, first=9, count=2):
        pixels = torch.from_numpy(tensor)
        with torch.no_grad():
            mine = net(normalise(pixels.permute(0, 3, 1, 2), spec=checkpoint.spec)).permute(0, 2, 3, 1)
            theirs = graph(pixels)
        assert float((mine - theirs).abs().max()) <= 0.02 * float(theirs.abs().max())
        assert float((mine.argmax(-1) == theirs.argmax(-1)).float().mean()) > 0.97


def test_a_layer_that_is_not_there_is_answered_with_the_nearest() -> None:
    checkpoint = deployable()
    settings = QatRecipe(float_layers=("net.fusoin",))
    with pytest.raises(UnknownName, match="fusion"):
        quant_net(checkpoint.net, size=(64, 96), ranges=ranges(checkpoint).ranges, recipe=settings)


def test_the_kept_checkpoint_is_plain_and_gives_the_trained_net_in_int8(kept: Trained) -> None:
    start = read_json(Ranges, trained_folder() / "ranges.json")
    assert kept.ranges.mode == "qat"
    assert kept.ranges.observer == "qat-lsq"
    assert kept.ranges.weights_sha256 == kept.checkpoint.spec.weights_sha256
    assert kept.ranges.calibration == start.calibration
    before = {item.name: item for item in start.ranges}
    moved = [item for item in kept.ranges.ranges if abs(item.high / before[item.name].high - 1) > 1e-3]
    assert len(moved) > 5
    assert {item.name: (item.low, item.high) for item in kept.ranges.ranges} == kept.net.ranges()
    spec = kept.checkpoint.spec
    program = export_program(deploy(kept.checkpoint, spec=spec, output="logits"), spec=spec)
    graph = quantize_program(program, ranges=kept.ranges.ranges).program.module()
    pixels = torch.from_numpy(images(spec, first=9, count=1)[0])
    with torch.no_grad():
        mine = kept.net(normalise(pixels.permute(0, 3, 1, 2), spec=spec)).permute(0, 2, 3, 1)
        assert float((mine - graph(pixels)).abs().max()) <= 0.02 * float(mine.abs().max())


def test_a_killed_run_goes_on_bit_for_bit(kept: Trained, tmp_path: Path) -> None:
    run = short_run()
    write_json(run, tmp_path / "recipe.json")
    write_json(LEARNED, tmp_path / "qat.json")
    out = tmp_path / "run"
    given = [str(item) for item in (WORKER, tmp_path / "recipe.json", tmp_path / "qat.json", out, 3)]
    killed = subprocess.run([sys.executable, *given], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = train(run, out=out, resume=True, accelerator="cpu", method=Qat(LEARNED)).checkpoint
    assert read_json(Ranges, done / "ranges.json") == kept.ranges
    whole, again = (
        torch.load(folder / STATE_FILE, weights_only=True)["average"] for folder in (kept.folder.parent, out)
    )
    assert all(torch.equal(whole[key], value) for key, value in again.items())


def test_ranges_have_their_own_rate_and_no_weight_decay_and_divergence_is_named() -> None:
    checkpoint = deployable()
    settings = QatRecipe(range_rate=7.0)
    net = quant_net(checkpoint.net, size=(64, 96), ranges=ranges(checkpoint).ranges, recipe=settings)
    groups = make_optimizer(net, short_run()).param_groups
    own = [group for group in groups if group["base"] == pytest.approx(7.0 * short_run().optimizer.rate)]
    assert [group["weight_decay"] for group in own] == [0.0]
    assert len(own[0]["params"]) == len(net.ranges()) - 1, "all but the range of the logits, which follows the batches"
    name = next(iter(net.ranges()))
    with torch.no_grad():
        net.point(name).stretch.fill_(float("nan"))
    with pytest.raises(TrainingError, match=rf"{name}: its range is nan to nan: the training diverges"):
        net(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model": {"init": ""}}, "trained checkpoint"), ({"run": {"precision": "bf16"}}, "fp32")],
)
def test_a_run_that_cannot_be_is_refused_with_what_to_do(change: dict[str, dict[str, str]], message: str) -> None:
    run = short_run()
    parts = {name: dataclasses.replace(getattr(run, name), **table) for name, table in change.items()}
    with pytest.raises(InputError, match=message):
        Qat(LEARNED).start(dataclasses.replace(run, **parts), deployable().spec)
