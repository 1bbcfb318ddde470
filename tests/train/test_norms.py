"""Batch norms that a quantized training left idle answer as before once they have statistics again."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgeseg.models import build, load_checkpoint, resolve_model
from edgeseg.train.batch_norm_statistics import restore_batch_norm_statistics


def images() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, 64, 96) for _ in range(2)]


def test_a_trained_int8_checkpoint_answers_as_before_and_normalises_by_what_reaches_it() -> None:
    net = load_checkpoint(resolve_model("lraspp_mobilenet_v3_small:camvid-half-int8")).net.eval()
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    batches, before = images(), copy.deepcopy(net)
    assert restore_batch_norm_statistics(net, batches) == norms
    assert not net.training
    with torch.no_grad():
        torch.testing.assert_close(net(batches[0]), before(batches[0]), rtol=1e-3, atol=1e-3)
        # In training mode the norms go by the batch: only now that changes little.
        whole = torch.cat(batches)
        wanted = before(whole)
        moved = [float((one.train()(whole) - wanted).abs().mean() / wanted.abs().mean()) for one in (net, before)]
    assert moved[0] < 0.05
    assert moved[1] > 0.5
    assert restore_batch_norm_statistics(net, batches) == 0


def test_norms_of_any_other_net_are_left_alone() -> None:
    net = build("fast_scnn", classes=3, size=(64, 96))
    state = copy.deepcopy(net.state_dict())
    assert restore_batch_norm_statistics(net, images()) == 0
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
