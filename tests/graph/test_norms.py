"""Batch norms are folded where that is exact, and stay with a reason where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.norms import BatchNorm, find_norms

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (8, 8)


class Net(nn.Module):
    """The modules of a net, and how it calls them."""

    def __init__(self, call: Callable[[Net, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def settled(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return net.eval()


def straight(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.norm(net.layer(x))
    return y


def pooled(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.norm(net.layer(x.mean((2, 3))))
    return y


FOLDABLE = {
    "conv": (straight, nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)),
    "depthwise": (straight, nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "without weights": (straight, nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, affine=False)),
    "synchronised": (straight, nn.Conv2d(3, 6, 1), nn.SyncBatchNorm(6)),
    "transposed": (straight, nn.ConvTranspose2d(3, 6, 2, 2), nn.BatchNorm2d(6)),
    "transposed in groups": (straight, nn.ConvTranspose2d(3, 6, 2, 2, groups=3, bias=False), nn.BatchNorm2d(6)),
    "linear": (pooled, nn.Linear(3, 6), nn.BatchNorm1d(6)),
}


@pytest.mark.parametrize("name", FOLDABLE)
def test_a_norm_behind_a_layer_is_folded_exactly(name: str) -> None:
    call, layer, norm = FOLDABLE[name]
    net = settled(Net(call, norm=norm, layer=layer))  # registered before the layer that it follows
    x = torch.randn(2, 3, *SIZE)
    folded = fold_batch_norms(net, size=SIZE)
    assert not [module for module in folded.modules() if isinstance(module, BatchNorm)]
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 1)


def twice(net: Net, x: Tensor) -> Tensor:
    y = net.layer(x)
    z: Tensor = net.norm(y) + y
    return z


def first(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.layer(net.norm(x * 2))
    return y


def shared(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.norm(net.layer(net.layer(x)))
    return y


def shared_norm(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.norm(net.norm(net.layer(x)))
    return y


def functional(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.norm(nn.functional.conv2d(x, net.layer.weight * 2))
    return y


def written_into(net: Net, x: Tensor) -> Tensor:
    y = net.layer(x)
    y[:, :1] = 0
    z: Tensor = net.norm(y)
    return z


def unused(net: Net, x: Tensor) -> Tensor:
    y: Tensor = net.layer(x)
    return y


KEPT = {
    "the output of layer is also read by something else": (twice, nn.BatchNorm2d(3)),
    "it follows mul, not a convolution or linear layer": (first, nn.BatchNorm2d(3)),
    "it follows __setitem, not a convolution or linear layer": (written_into, nn.BatchNorm2d(3)),
    "layer is called, or its parameters are read, more than once": (shared, nn.BatchNorm2d(3)),
    "it is called, or its parameters are read, more than once": (shared_norm, nn.BatchNorm2d(3)),
    "it follows a conv2d whose weights are not stored parameters of a Conv2d": (functional, nn.BatchNorm2d(3)),
    "it is not called in evaluation mode": (unused, nn.BatchNorm2d(3)),
    "it has no running statistics": (straight, nn.BatchNorm2d(3, track_running_stats=False)),
}


@pytest.mark.parametrize("reason", KEPT)
def test_a_norm_that_cannot_be_folded_stays_with_a_reason(reason: str) -> None:
    call, norm = KEPT[reason]
    net = settled(Net(call, layer=conv(), norm=norm))
    assert [(item.norm, item.reason) for item in find_norms(net, size=SIZE).kept] == [("norm", reason)]
    x = torch.randn(2, 3, *SIZE)
    folded = fold_batch_norms(net, size=SIZE)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x))


def test_looking_at_a_net_leaves_it_as_it_was() -> None:
    net = Net(straight, layer=conv(), norm=nn.BatchNorm2d(3)).train()
    net.layer.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    find_norms(net, size=SIZE)
    assert (net.training, net.layer.training, net.norm.training) == (True, False, True)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not net.layer._forward_hooks
