"""Single weights at zero stay at zero; a scan tells which group matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from compress.test_prune import trained
from train.small import SIZE, recipe

from edgeseg.compress.prune.sensitivity import SensitivityScan, plot_groups, scan_groups
from edgeseg.compress.prune.sparsity import (
    MaskedTraining,
    apply_masks,
    magnitude_masks,
)
from edgeseg.core.files import read_json, write_json
from edgeseg.data import StreetsDataset
from edgeseg.errors import InputError
from edgeseg.models import Checkpoint, build, load_checkpoint, save_checkpoint
from edgeseg.train import train
from edgeseg.train.describe import model_spec
from edgeseg.train.start import start_net

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scnn(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained") / "c", "fast_scnn")


def share_of_zeros(net: torch.nn.Module) -> float:
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    named = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, layers)]
    weights = [layer.weight for name, layer in named if not name.startswith("aux")]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def test_masks_drop_the_smallest_weights() -> None:
    net = build("fast_scnn", classes=3, size=SIZE)
    masks = magnitude_masks(net, sparsity=0.5)
    kept = min(net.get_submodule(name).weight.detach().abs()[mask].min() for name, mask in masks.items() if mask.any())
    lost = [net.get_submodule(name).weight.detach().abs()[~mask] for name, mask in masks.items()]
    assert max(float(part.max()) for part in lost if part.numel()) <= kept
    apply_masks(net, masks)
    assert share_of_zeros(net) == pytest.approx(0.5, abs=1e-4)
    higher = magnitude_masks(net, sparsity=0.8)
    assert all(bool((masks[name] | ~higher[name]).all()) for name in masks)
    each = magnitude_masks(net, sparsity=0.9, scope="layer")
    assert all(
        float(mask.float().mean()) == pytest.approx(0.1, abs=0.06) for mask in each.values() if mask.numel() > 99
    )
    with pytest.raises(InputError, match="0 to below 1"):
        magnitude_masks(net, sparsity=1.0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_lottery_ticket_trains_from_its_start_with_zeros_kept(
    scnn: Checkpoint, optimizer: str, tmp_path: Path
) -> None:
    tables = {
        "data": {"train": "streets:4", "val": "streets:2"},
        "schedule": {"epochs": 2, "warmup_epochs": 0.5},
        "optimizer": {"name": optimizer},
        "run": {"batch": 2, "tensorboard": False, "seed": 9, "ema": 0.9},
    }
    plain = recipe(**tables)
    spec = model_spec(plain, StreetsDataset(split="train", count=4))
    torch.manual_seed(plain.run.seed)
    save_checkpoint(tmp_path / "start", net=start_net(plain, spec)[0], spec=spec, training={})
    made = recipe(**tables, model={"init": str(tmp_path / "start")})
    method = MaskedTraining(str(scnn.folder), sparsity=0.7)
    result = train(made, out=tmp_path / "run", method=method)
    tuned, start = load_checkpoint(result.checkpoint).net, load_checkpoint(tmp_path / "start").net
    masks = magnitude_masks(scnn.net, sparsity=0.7)
    for name, mask in masks.items():
        assert not tuned.get_submodule(name).weight[~mask].any(), name
    assert not torch.equal(tuned.classifier[3].weight, start.classifier[3].weight)
    assert method.fingerprint() != MaskedTraining(str(scnn.folder), sparsity=0.6).fingerprint()


def test_a_scan_finds_what_the_classifier_reads(scnn: Checkpoint, tmp_path: Path) -> None:
    data = StreetsDataset(split="train", count=1)
    scan = scan_groups(scnn, [data.load(0)], shares=(0.5,))
    by_group = {item.group: item for item in scan.losses}
    assert len(by_group) == len(scan.losses) == 23
    assert all(0 <= item.agreement <= 1 and 0 < item.macs_saved < 1 for item in scan.losses)
    assert by_group["classifier.1.1.0"].agreement < 1
    write_json(scan, tmp_path / "scan.json")
    assert read_json(SensitivityScan, tmp_path / "scan.json") == scan
    pytest.importorskip("matplotlib")
    plot_groups(scan, tmp_path / "scan.png")
    assert (tmp_path / "scan.png").stat().st_size > 5000
    with pytest.raises(InputError, match="between 0 and 1"):
        scan_groups(scnn, [data.load(0)], shares=(1.0,))
