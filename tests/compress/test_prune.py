"""Pruning keeps its budget, its multiples and its classes; what it writes stands alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from train.small import SIZE, recipe

from edgeseg.compress.prune.batch_norm_recalibration import recalibrate
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.channel_groups import Dependencies
from edgeseg.compress.prune.importance import score_channels
from edgeseg.compress.prune.pruner import Pruned, prune, save
from edgeseg.core.spec import LayerChannels
from edgeseg.data import StreetsDataset
from edgeseg.errors import CheckpointError, InputError, UnknownName
from edgeseg.graph.layer_shapes import layer_shapes
from edgeseg.models import Checkpoint, build, cost, load_checkpoint, resolve_model, save_checkpoint
from edgeseg.models.lineage import read_lineage
from edgeseg.train import train
from edgeseg.train.describe import model_spec
from edgeseg.train.objective import Objective
from edgeseg.train.start import start_net

NAMES = ("fast_scnn", "lraspp_mobilenet_v3_small")


def trained(folder: Path, name: str) -> Checkpoint:
    """Return a checkpoint whose batch norms differ, as trained ones do."""
    torch.manual_seed(1)
    made = recipe(model={"name": name})
    net = build(name, classes=11, size=SIZE)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.2, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    save_checkpoint(folder, net=net, spec=model_spec(made, StreetsDataset(split="train", count=2)))
    return load_checkpoint(folder)


@pytest.fixture(scope="module", params=NAMES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained") / "c", request.param)


@pytest.fixture(scope="module")
def scnn(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained") / "c", "fast_scnn")


@dataclass(frozen=True, slots=True)
class Halved:
    """A net at half its MACs, and where it was saved."""

    pruned: Pruned
    folder: Path


@pytest.fixture(scope="module")
def halved(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Halved:
    folder = tmp_path_factory.mktemp("halved") / "p"
    pruned = prune(checkpoint, budget=Budget(macs=0.5))
    save(pruned, folder)
    return Halved(pruned, folder)


def batch(*, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return seeded noise as images and labels."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, *SIZE, generator=generator)
    return images, torch.randint(0, 11, (count, *SIZE), generator=generator)


def objective() -> Objective:
    return Objective(recipe=recipe().loss, ignore_index=255)


def test_half_the_macs_are_half_the_macs_in_whole_multiples(halved: Halved) -> None:
    pruned = halved.pruned
    assert pruned.before == cost(pruned.parent.net, size=SIZE)
    assert 0.4 < pruned.after.macs / pruned.before.macs <= 0.5
    assert pruned.after == cost(pruned.net, size=SIZE)
    assert all(group.after % 8 == 0 and group.after >= group.before * 0.25 for group in pruned.groups)
    assert pruned.net(batch()[0]).shape == (4, 11, SIZE[0] // 8, SIZE[1] // 8)


def test_uniform_takes_the_same_share_everywhere(scnn: Checkpoint) -> None:
    pruned = prune(scnn, budget=Budget(macs=0.5), scope="uniform")
    shares = [group.after / group.before for group in pruned.groups if group.before >= 64]
    assert 0.4 < pruned.after.macs / pruned.before.macs <= 0.5
    assert max(shares) - min(shares) <= 0.15


def test_a_parameter_budget_counts_parameters(scnn: Checkpoint) -> None:
    pruned = prune(scnn, budget=Budget(parameters=0.6))
    assert 0.5 < pruned.after.parameters / pruned.before.parameters <= 0.601


def test_a_pruned_checkpoint_stands_alone_at_any_size(halved: Halved) -> None:
    loaded = load_checkpoint(halved.folder)
    x = batch()[0]
    with torch.no_grad():
        torch.testing.assert_close(loaded.net(x), halved.pruned.net(x), rtol=0, atol=0)
    assert loaded.spec.channels == halved.pruned.spec.channels
    assert load_checkpoint(halved.folder, size=(96, 128)).net(torch.zeros(1, 3, 96, 128)).shape == (1, 11, 12, 16)
    (step,) = read_lineage(halved.folder)
    assert (step.stage, step.parent_sha256) == ("prune", halved.pruned.parent.spec.weights_sha256)


def test_removing_a_channel_is_not_reading_it(checkpoint: Checkpoint) -> None:
    """The narrow net gives exactly what the whole net gives when the removed channels' readers are zero."""
    net = load_checkpoint(checkpoint.folder).net.requires_grad_(True)
    silent = load_checkpoint(checkpoint.folder).net
    dependencies = Dependencies(net, size=SIZE)
    removed = {group.name: tuple(range(group.channels // 2)) for group in dependencies.groups}
    for group in dependencies.groups:
        for member in group.members:
            if member.side == "in":
                own = [
                    at
                    for at, channel in zip(member.indices, member.channels, strict=True)
                    if channel in removed[group.name]
                ]
                silent.get_submodule(member.layer).weight.data[:, own] = 0.0
    dependencies.cut(removed)
    x = batch(count=1)[0]
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), silent.eval()(x), rtol=1e-4, atol=1e-4)


def test_taylor_tells_what_the_loss_would_lose(scnn: Checkpoint) -> None:
    """Against the loss itself with a reader's weights scaled down a little: the derivative is the same."""
    net = load_checkpoint(scnn.folder).net.requires_grad_(True)
    group = next(item for item in Dependencies(net, size=SIZE).groups if item.name == "classifier.1.1.0")
    images, labels = batch(count=1)
    scores = score_channels(
        net, [group], importance="taylor", size=SIZE, batches=[(images, labels)], objective=objective()
    )
    layer, step = net.get_submodule("classifier.3").double(), 1e-2
    net.double()
    losses = []
    for factor in (1 - step, 1 + step):
        with torch.no_grad():
            layer.weight[:, 7] *= factor
            losses.append(objective()((net(images.double()),), labels).item())
            layer.weight[:, 7] /= factor
    slope = (losses[1] - losses[0]) / (2 * step)
    assert scores[group.name][7].item() == pytest.approx(slope**2, rel=2e-2)


def test_taylor_needs_images_and_repeats_bitwise(scnn: Checkpoint) -> None:
    with pytest.raises(InputError, match="training batches"):
        prune(scnn, budget=Budget(macs=0.7), importance="taylor")
    made = [_taylor(scnn) for _ in range(2)]
    first, second = (item.net.state_dict() for item in made)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert made[0].groups == made[1].groups


def _taylor(checkpoint: Checkpoint) -> Pruned:
    return prune(
        checkpoint,
        budget=Budget(macs=0.7),
        importance="taylor",
        batches=[batch()],
        objective=objective(),
        passes=2,
    )


def test_scaled_down_norms_go_first(scnn: Checkpoint) -> None:
    net = load_checkpoint(scnn.folder).net.requires_grad_(True)
    group = next(item for item in Dependencies(net, size=SIZE).groups if item.name == "features.4.block.1.0")
    with torch.no_grad():
        for member in group.members:
            layer = net.get_submodule(member.layer)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight[5] = 1e-4
            elif member.side == "in":
                layer.weight[:, 5] = 1e-4
    for importance in ("bn-scale", "magnitude"):
        scores = score_channels(net, [group], importance=importance, size=SIZE)[group.name]  # type: ignore[arg-type]
        assert int(scores.argmin()) == 5, importance


def test_kept_layers_stay_whole(scnn: Checkpoint) -> None:
    pruned = prune(scnn, budget=Budget(macs=0.8), keep=("classifier", "downsample.0"))
    narrower = {layer.name for layer in pruned.spec.channels}
    assert narrower
    assert not any(name.startswith(("classifier", "downsample.0")) for name in narrower)
    with pytest.raises(UnknownName, match="classifier"):
        prune(scnn, budget=Budget(macs=0.8), keep=("clasifier",))


def test_impossible_budgets_say_so(scnn: Checkpoint) -> None:
    with pytest.raises(InputError, match="floor"):
        prune(scnn, budget=Budget(macs=0.01))
    with pytest.raises(InputError, match="exactly one"):
        Budget(macs=0.5, ms=3.0)
    with pytest.raises(InputError, match="latency table"):
        prune(scnn, budget=Budget(ms=3.0))
    with pytest.raises(UnknownName, match="global"):
        prune(scnn, budget=Budget(macs=0.5), scope="globl")  # type: ignore[arg-type]


def test_norms_take_new_statistics(scnn: Checkpoint) -> None:
    net = load_checkpoint(scnn.folder).net
    images, labels = batch()
    recalibrate(net, [(images + 3, labels)])
    first = net.downsample[0]
    with torch.no_grad():
        seen = first[0](images + 3)
    torch.testing.assert_close(first[1].running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert first[1].momentum is not None
    with pytest.raises(InputError, match="two images"):
        recalibrate(net, [(images[:1], labels[:1])])


def test_a_net_from_int8_training_is_normalised_by_statistics_of_its_own() -> None:
    half = load_checkpoint(resolve_model("lraspp_mobilenet_v3_small:camvid-half-int8"), size=SIZE)
    images, labels = batch()
    left = prune(half, budget=Budget(macs=1.0), batches=[(images, labels)]).net
    with torch.no_grad():
        before, after = half.net.eval()(images), left(images)
    assert float((after - before).abs().mean() / before.abs().mean()) < 0.1


def test_fine_tuning_keeps_the_widths_with_auxiliary_heads(halved: Halved, tmp_path: Path) -> None:
    made = recipe(
        model={"name": halved.pruned.spec.architecture, "init": str(halved.folder)},
        data={"train": "streets:4", "val": "streets:2"},
        loss={"aux": 0.4, "stride": 3},
        schedule={"epochs": 1, "warmup_epochs": 0.5},
        run={"batch": 4, "tensorboard": False},
    )
    result = train(made, out=tmp_path / "run")
    tuned = load_checkpoint(result.checkpoint)
    assert tuned.spec.channels == halved.pruned.spec.channels
    assert cost(tuned.net, size=SIZE) == halved.pruned.after


def test_other_classes_on_a_pruned_net(halved: Halved) -> None:
    class Two(StreetsDataset):
        classes = ("road", "rest")  # type: ignore[assignment]

    made = recipe(model={"name": halved.pruned.spec.architecture, "init": str(halved.folder)})
    net, _ = start_net(made, model_spec(made, Two(split="train", count=2)))
    assert net.eval()(torch.zeros(1, 3, *SIZE)).shape[1] == 2


def test_layer_shapes_count_as_the_cost_does(checkpoint: Checkpoint) -> None:
    shapes = layer_shapes(checkpoint.net, size=SIZE)
    assert sum(shape.macs for shape in shapes.values()) == cost(checkpoint.net, size=SIZE).macs
    assert {shape.activation for shape in shapes.values()} >= {"ReLU", ""}


def test_damaged_channels_are_refused(halved: Halved, tmp_path: Path) -> None:
    shutil.copytree(halved.folder, tmp_path / "p")
    path = tmp_path / "p" / "spec.json"
    whole = json.loads(path.read_text())
    whole["channels"][0]["outputs"] += 8
    path.write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match="channels"):
        load_checkpoint(tmp_path / "p")
    whole["channels"][0]["name"] = "nowhere"
    path.write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match='no layer "nowhere"'):
        load_checkpoint(tmp_path / "p")


def test_a_spec_without_channels_still_loads(scnn: Checkpoint) -> None:
    path = scnn.folder / "spec.json"
    spec = json.loads(path.read_text())
    assert spec.pop("channels") == []
    path.write_text(json.dumps(spec))
    assert load_checkpoint(scnn.folder).spec.channels == ()


def test_layer_channels_need_whole_groups() -> None:
    with pytest.raises(ValueError, match="groups"):
        LayerChannels(name="conv", inputs=10, outputs=10, groups=4)
