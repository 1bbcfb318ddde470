"""What an architecture is, and the registered architectures by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeseg.core import registry

if TYPE_CHECKING:
    from torch import nn

_GROUP = "models"


class BuildNet(Protocol):
    """Builds a net with fresh weights for a number of classes and an input size (height, width).

    It may also take `aux` (bool: with auxiliary heads for training) and `inputs` (the number of input channels).
    """

    def __call__(self, *, classes: int, size: tuple[int, int]) -> nn.Module:
        """Return the net, in training mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network that can be built by name: input (N, C, H, W) normalised float, output logits at `output_stride`.

    `input_channels` are the supported values of C. An encoder with public weights is `net.encoder`.
    """

    name: str
    build: BuildNet
    output_stride: int
    size_multiple: int
    paper: str
    description: str
    input_channels: tuple[int, ...] = (3,)


def architecture(name: str) -> Architecture:
    """Return the architecture registered as `name` in the entry-point group `edgeseg.models`.

    Raises:
        UnknownName: no such architecture, with the nearest one.
        MissingDependency: a plug-in that cannot be imported, or that is not an Architecture.
    """
    return registry.load_as(_GROUP, name, Architecture)


def architectures() -> tuple[str, ...]:
    """Return the names of all registered architectures, sorted, without importing them."""
    return registry.names(_GROUP)
